"""Adapters merged into their base: ``base + Σ wᵢ·scaleᵢ·BᵢAᵢ`` as a plain checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.checkpoints.adapter import LoraAdapter
from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import TensorInfo, read_bytes
from cogen.errors import CompatibilityError
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.kernels.combine import Coefficients, by_coefficients
from cogen.merging.lora.concat import check_fit, check_weights
from cogen.merging.operands import Stored
from cogen.merging.writer import copy_model_files, write_outputs
from cogen.reporter import Reporter

if TYPE_CHECKING:
    import torch

#: Types that a difference can be added to; float8 tensors have scales of their own beside them.
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class AdapterDifference:
    """An adapter's ``scale·B·A`` for one tensor as an operand. ``dtype`` is the base's: it decides the accumulator."""

    adapter: LoraAdapter
    info: TensorInfo
    key: str

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.info.shape
        return shape

    @property
    def dtype(self) -> str:
        dtype: str = self.info.dtype
        return dtype

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        columns = self.shape[1]
        first = start // columns
        rows: torch.Tensor = self.adapter.delta(self.info.name, dtype, first, -(-stop // columns)).reshape(-1)
        return rows[start - first * columns : stop - first * columns]


def coefficients(weights: Sequence[float]) -> Coefficients:
    """``base + Σ wᵢ·differenceᵢ``."""
    return 1.0, weights


add_adapters = by_coefficients("add adapters", coefficients)


def write_merged(
    base: Checkpoint,
    adapters: Sequence[LoraAdapter],
    weights: Sequence[float],
    folder: Path,
    *,
    threads: int | None = None,
    reporter: Reporter | None = None,
) -> list[str]:
    """Write the checkpoint into ``folder``, which exists and is empty; returns the names of the changed tensors.

    One rounding from the accumulator to the base's stored type; untouched tensors are the base's bytes. The same bits
    for any order of the adapters and any number of threads; one adapter at weight 1 is what
    :meth:`~cogen.checkpoints.model.Checkpoint.read` gives. ``reporter`` advances by one per tensor.

    :raises CompatibilityError: an adapter does not fit the base, or the base's tensor is quantized.
    """
    check_weights(adapters, weights)
    for adapter in adapters:
        check_fit(base, adapter)
        for name in adapter.pairs:
            if base.tensors[name].dtype not in _FLOATS:
                raise CompatibilityError(
                    f"{name} of {base.folder.name} is {base.tensors[name].dtype}: an adapter cannot be added to it",
                    hint="use the model that it was quantized from",
                )
    # An adapter that is given twice is one with the sum of the weights, so that the order of summing is unique.
    named: dict[str, tuple[LoraAdapter, list[float]]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        named.setdefault(_key(adapter), (adapter, []))[1].append(weight)
    parts = [(key, adapter, math.fsum(given)) for key, (adapter, given) in named.items()]
    changed = []
    with Engine(threads, reporter) as engine:
        outputs = []
        for name, info in sorted(base.tensors.items()):
            touching = [part for part in parts if name in part[1].pairs and part[2] != 0.0]
            work: Copy | Merge = Copy(info)
            if touching:
                changed.append(name)
                operands = tuple(AdapterDifference(adapter, info, key) for key, adapter, _ in touching)
                work = Merge(
                    add_adapters, Stored(engine.files, base, name, "base"), operands, tuple(w for *_, w in touching)
                )
            outputs.append(OutputTensor(name, info.dtype, info.shape, work))
        write_outputs(outputs, engine, folder)
    copy_model_files(base.folder, folder)
    return changed


def _key(adapter: LoraAdapter) -> str:
    """A digest of the adapter's factors and scales, independent of its folder."""
    digest = hashlib.sha256()
    for name, (a, b, scale) in sorted(adapter.pairs.items()):
        digest.update(json.dumps([name, a.dtype, b.dtype, a.shape, scale]).encode())
        digest.update(read_bytes(a))
        digest.update(read_bytes(b))
    return digest.hexdigest()
