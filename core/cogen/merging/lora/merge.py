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
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import TensorInfo, read_bytes
from cogen.errors import CompatibilityError
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.kernels.combine import Coefficients, by_coefficients
from cogen.merging.lora.concat import check_weights, fitted
from cogen.merging.operands import Stored
from cogen.merging.writer import copy_model_files, write_outputs
from cogen.reporter import Reporter

if TYPE_CHECKING:
    import torch

#: Types that a difference can be added to; float8 tensors have scales of their own beside them.
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class AdapterDifference:
    """What an adapter changes in one tensor of its base, as an operand. ``dtype`` is the base's: it decides the
    accumulator.
    """

    adapter: LoraAdapter
    info: TensorInfo
    key: str
    files: OpenFiles

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
        columns = math.prod(self.shape[1:])
        first, last = start // columns, -(-stop // columns)
        if self.adapter.is_sum(self.info.name):
            rows: torch.Tensor = self.adapter.delta(self.info.name, dtype, first, last)
        else:
            base = self.files.read(self.info, first * columns, last * columns).to(dtype).reshape(-1, *self.shape[1:])
            rows = self.adapter.apply(self.info.name, base, first, last) - base
        return rows.reshape(-1)[start - first * columns : stop - first * columns]


def coefficients(weights: Sequence[float]) -> Coefficients:
    """``base + Σ wᵢ·differenceᵢ``."""
    return 1.0, weights


def only_expert(weights: Sequence[float]) -> Coefficients:
    """``0·base + 1·expert``: the expert, to the bit."""
    return 0.0, weights


add_adapters = by_coefficients("add adapters", coefficients)
take_adapted = by_coefficients("take the adapted tensor", only_expert)


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
    adapters = [fitted(base, adapter) for adapter in adapters]
    for adapter in adapters:
        for name in sorted(adapter.changed):
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
            touching = [part for part in parts if name in part[1].changed and part[2] != 0.0]
            work: Copy | Merge = Copy(info)
            if touching:
                changed.append(name)
                work = _sum(engine, base, name, touching)
            outputs.append(OutputTensor(name, info.dtype, info.shape, work))
        write_outputs(outputs, engine, folder)
    copy_model_files(base.folder, folder)
    return changed


def _sum(engine: Engine, base: Checkpoint, name: str, touching: Sequence[tuple[str, LoraAdapter, float]]) -> Merge:
    stored = Stored(engine.files, base, name, "base")
    ((key, adapter, weight), *more) = touching
    if not more and weight == 1.0 and not adapter.is_sum(name):  # base plus difference would round twice
        adapted = Checkpoint(base.folder, base.tensors, adapter)
        whole = Stored(engine.files, adapted, name, key)
        return Merge(take_adapted, stored, (whole,), (1.0,), titles=(adapter.folder.name,))
    operands = tuple(AdapterDifference(a, base.tensors[name], k, engine.files) for k, a, _ in touching)
    titles = tuple(a.folder.name for _, a, _ in touching)
    return Merge(add_adapters, stored, operands, tuple(w for *_, w in touching), titles=titles)


def _key(adapter: LoraAdapter) -> str:
    """A digest of the adapter's tensors and scales, independent of its folder."""
    digest = hashlib.sha256()
    for name, (a, b, scale) in sorted(adapter.pairs.items()):
        digest.update(json.dumps([name, a.dtype, b.dtype, a.shape, scale]).encode())
        digest.update(read_bytes(a))
        digest.update(read_bytes(b))
    others = {f"{name} {letter}" for name in adapter.pairs for letter in "AB"}
    for name, info in sorted(adapter.tensors().items()):
        if name not in others:
            scale = adapter.added[name.removesuffix(" added")][1] if name.endswith(" added") else 1.0
            rows = adapter.rows[name.removesuffix(" rows")][0] if name.endswith(" rows") else ()
            digest.update(json.dumps([name, info.dtype, info.shape, scale, rows]).encode())
            digest.update(read_bytes(info))
    return digest.hexdigest()
