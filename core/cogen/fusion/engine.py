"""Carrying out a plan: one tensor at a time, in one fixed order, into one folder that appears whole or not at all.

``merged`` is the arithmetic, ``write_candidates`` and ``write_composite`` decide where it goes. Memory
depends on the largest tensor and the number of experts, never on the size of the model.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.model import Checkpoint, accumulator
from cogen.checkpoints.safetensors_file import SafetensorsWriter, read_bytes
from cogen.fusion.plan import Plan

if TYPE_CHECKING:
    import torch

#: A composite larger than this is written in shards; the Hub's own limit.
SHARD_BYTES = 5_000_000_000
#: What a checkpoint folder holds beside weights, as far as the base has it.
_COMPANIONS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip


def merged(
    name: str,
    base: Checkpoint,
    experts: Sequence[Checkpoint],
    weights: Sequence[float],
    method: Any,
    variants: Sequence[dict[str, float]],
) -> Iterator[torch.Tensor]:
    """The merged tensor for every set of parameters, in the base's stored dtype.

    Inputs are read once, in the order given (the plan's: by digest), and widened to the accumulator: float32
    for bf16 and fp16, float64 where any input is float32. One rounding, at the end.
    """
    import torch

    stored = getattr(torch, base.tensors[name].dtype)
    wide = max(
        (accumulator(getattr(torch, checkpoint.tensors[name].dtype)) for checkpoint in (base, *experts)),
        key=lambda dtype: torch.finfo(dtype).bits,
    )
    anchor = base.read(name, wide)
    tensors = [expert.read(name, wide) for expert in experts]
    for parameters in variants:
        yield method(anchor, tensors, weights, **parameters).to(stored)


def changed_names(base: Checkpoint, experts: Sequence[Checkpoint]) -> list[str]:
    """Floating-point tensors that at least one expert may have changed; the others are the base's bytes."""
    floats = ("float16", "bfloat16", "float32", "float64")
    return [n for n in base.names() if base.tensors[n].dtype in floats and any(e.changed(n) for e in experts)]


def parameters_of(plan: Plan, method: Any, scale: float) -> dict[str, float]:
    """Keyword arguments of the method for one value of the scale."""
    import inspect

    taken = {"scale": scale} if "scale" in inspect.signature(method).parameters else {}
    return {**plan.parameters, **taken}


def write_candidates(
    plan: Plan, base: Checkpoint, experts: Sequence[Checkpoint], method: Any, folder: Path, progress: Any = None
) -> list[Path]:
    """The changed tensors for every scale of the plan, one file each; inputs are read once for all of them."""
    names = changed_names(base, experts)
    shapes = {name: (base.tensors[name].dtype, base.tensors[name].shape) for name in names}
    files = [folder / f"candidate-{i}.safetensors" for i in range(len(plan.scales))]
    variants = [parameters_of(plan, method, scale) for scale in plan.scales]
    weights = [expert.weight for expert in plan.experts]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(SafetensorsWriter(file, shapes)) for file in files]
        for name in names:
            for writer, tensor in zip(writers, merged(name, base, experts, weights, method, variants), strict=True):
                writer.write(name, tensor)
            if progress:
                progress.advance(1)
    return files


def write_composite(
    plan: Plan,
    base: Checkpoint,
    experts: Sequence[Checkpoint],
    method: Any,
    scale: float,
    folder: Path,
    progress: Any = None,
) -> None:
    """A plain checkpoint: weights, config, tokenizer. ``folder`` exists and is empty."""
    changed = set(changed_names(base, experts))
    variant = [parameters_of(plan, method, scale)]
    weights = [expert.weight for expert in plan.experts]
    shards = _shards(base)
    for index, names in enumerate(shards):
        file = "model.safetensors" if len(shards) == 1 else f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        shapes = {name: (base.tensors[name].dtype, base.tensors[name].shape) for name in names}
        with SafetensorsWriter(folder / file, shapes, {"format": "pt"}) as writer:
            for name in names:
                if name in changed:
                    (tensor,) = merged(name, base, experts, weights, method, variant)
                    writer.write(name, tensor)
                else:
                    writer.write(name, read_bytes(base.tensors[name]))
                if progress:
                    progress.advance(1)
    if len(shards) > 1:
        _write_index(base, shards, folder)
    for name in _COMPANIONS:
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, folder / name)


def _shards(base: Checkpoint) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    room = SHARD_BYTES
    for name in base.names():
        size = base.tensors[name].stop - base.tensors[name].start
        if shards[-1] and size > room:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append(name)
        room -= size
    return shards


def _write_index(base: Checkpoint, shards: list[list[str]], folder: Path) -> None:
    where = {
        name: f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i, names in enumerate(shards) for name in names
    }
    size = sum(info.stop - info.start for info in base.tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
