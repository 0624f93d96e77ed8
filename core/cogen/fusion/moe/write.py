"""A mixture on disk: a plain checkpoint folder, streamed tensor by tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import read_header
from cogen.fusion.merge.outputs import MergeJob, planned_outputs
from cogen.fusion.moe.assemble import EMBEDDING, HEAD, ExpertSlot, Mixture, mixture_outputs, shared_outputs
from cogen.fusion.moe.targets import full_config, own_head, planned_config, target_of
from cogen.merging.engine import Copy, Engine, OutputTensor
from cogen.merging.methods.passthrough import passthrough
from cogen.merging.vocabulary.configs import apply_changes
from cogen.merging.writer import finish_model_files, write_outputs
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

    from cogen.fusion.details import MoeDetails


@dataclass(frozen=True)
class Reuse:
    """An earlier composite, and the slots of the experts in it that are still the same."""

    checkpoint: Checkpoint
    slots: Mapping[str, int]
    rows: Mapping[str, torch.Tensor]


def write_mixture(
    planned: MoeDetails,
    job: MergeJob,
    scale: float,
    rows: Mapping[str, torch.Tensor],
    folder: Path,
    *,
    reuse: Reuse | None = None,
    threads: int | None = None,
    reporter: Reporter = SILENT,
) -> None:
    """Weights, configuration and tokenizer. ``folder`` exists and is empty.

    :param job, scale: base and experts, and how what is outside feed-forward blocks is merged.
    :param rows: of every slot, shape (layers, hidden).
    :param reuse: where tensors of unchanged experts are copied from.
    """
    import torch

    base, config = job.base, full_config(job.base)
    target = target_of(config)
    experts = {one.id: (opened, one.weights_digest) for one, opened in zip(job.planned, job.experts, strict=True)}
    slots = tuple(ExpertSlot(id, *experts.get(id, (base, "base"))) for id in planned.slots)
    mixture = Mixture(
        target,
        slots,
        planned.layers,
        planned.hidden,
        planned.width,
        torch.stack([rows[id] for id in planned.slots], dim=1),
        reuse.checkpoint if reuse else None,
        reuse.slots if reuse else {},
        planned.servable,
    )
    scratch = folder / "head.safetensors"
    with Engine(threads, reporter, verified=True) as engine:
        shared = shared_outputs(planned_outputs(job, engine, {"scale": scale}), target, planned.layers)
        if own_head(config, planned):
            shared = _with_head(shared, engine, scratch)
        write_outputs(mixture_outputs(base, mixture, shared, engine, passthrough), engine, folder)
    scratch.unlink(missing_ok=True)
    job.write_model_files(folder)
    finish_model_files(folder, apply_changes(planned_config(config, planned), job.config_changes))


def _with_head(shared: Sequence[OutputTensor], engine: Engine, scratch: Path) -> list[OutputTensor]:
    """With the head as a copy of the embedding. What is merged is merged once: a method may use the tensor's name."""
    embedding = next(output for output in shared if output.name == EMBEDDING)
    if not isinstance(embedding.work, Copy):
        engine.write([embedding], scratch)
        embedding = dataclasses.replace(embedding, work=Copy(read_header(scratch)[EMBEDDING]))
    head = dataclasses.replace(embedding, name=HEAD)
    return [*(embedding if output.name == EMBEDDING else output for output in shared), head]
