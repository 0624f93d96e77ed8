"""Every tensor of a mixture with routing ``prefix``, and the checkpoint folder: streamed, as without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import read_header
from cogen.evals.settings import prefix_token_id
from cogen.fusion.merge.outputs import MergeJob, planned_outputs
from cogen.fusion.moe.assemble import (
    EMBEDDING,
    HEAD,
    ExpertSlot,
    Mixture,
    expert_operand,
    expert_outputs,
    mixture_extents,
    shared_outputs,
)
from cogen.fusion.moe.prefix.head import extra_head
from cogen.fusion.moe.prefix.layout import planned_layout, widened_config
from cogen.fusion.moe.prefix.reset import reset_head
from cogen.fusion.moe.prefix.rows import norms_of, read_prefix_rows
from cogen.fusion.moe.prefix.widened import AFTER, WidenedTensors
from cogen.fusion.moe.targets import PARTS, full_config, own_head, planned_config, target_of
from cogen.merging.block import Operand
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.methods.linear import linear
from cogen.merging.methods.passthrough import passthrough
from cogen.merging.operands import Stored
from cogen.merging.vocabulary.configs import apply_changes
from cogen.merging.writer import finish_model_files, write_outputs
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

    from cogen.fusion.details import MoeDetails
    from cogen.fusion.moe.write import Reuse


def write_prefix_mixture(
    planned: MoeDetails,
    job: MergeJob,
    scale: float,
    tokenizer: object,
    rows: Mapping[str, torch.Tensor],
    folder: Path,
    *,
    reuse: Reuse | None = None,
    threads: int | None = None,
    reporter: Reporter = SILENT,
) -> None:
    """Weights, configuration and tokenizer; as :func:`~cogen.fusion.moe.write.write_mixture`.

    :param tokenizer: the base's; its prefix token goes to the public slot.
    :param rows: of the router file.
    """
    import torch

    assert planned.prefix is not None
    base, config = job.base, full_config(job.base)
    target, found = target_of(config), read_prefix_rows(rows, planned, job.base)
    layout = planned_layout(config, planned)
    experts = {one.id: (opened, one.weights_digest) for one, opened in zip(job.planned, job.experts, strict=True)}
    slots = tuple(ExpertSlot(id, *experts.get(id, (base, "base"))) for id in planned.slots)
    scratch = folder / "merged.safetensors"
    with Engine(threads, reporter, verified=True) as engine:
        outputs = shared_outputs(planned_outputs(job, engine, {"scale": scale}), target, planned.layers)
        stored = _merged_first(outputs, engine, scratch, base)

        def read(name: str) -> torch.Tensor:
            checkpoint = stored if name in stored.tensors else base
            return checkpoint.read(name, torch.float64)

        norms = norms_of(base, read)
        head = extra_head(found.kernel, planned.prefix.mass, norms)
        reset = None
        if layout.turns:
            reset = reset_head(found.kernel, planned.prefix.mass, norms, norms_of(base, read, layer=1))
        wide = WidenedTensors(layout, planned, found, head, reset, prefix_token_id(tokenizer), read)
        mixture = Mixture(
            target,
            slots,
            planned.layers,
            layout.wide,
            planned.width,
            wide.routers().expand(planned.layers, -1, -1),
            reuse.checkpoint if reuse else None,
            reuse.slots if reuse else {},
            planned.servable,
        )
        made = [_shared(output, wide, engine, stored if output.name in stored.tensors else base) for output in outputs]
        if own_head(config, planned):
            source = Stored(engine.files, stored if EMBEDDING in stored.tensors else base, EMBEDDING, "shared")
            made.append(_output(HEAD, wide.operand(HEAD, source)))
        for layer in range(planned.layers):
            name = f"model.layers.{layer}.{AFTER}"
            operand = wide.operand(name, Stored(engine.files, base, name, "base"))
            made.append(_output(name, operand))
        blocks = expert_outputs(base, mixture, engine, passthrough)
        if planned.prefix.public == "mean":
            blocks = _with_mean(blocks, base, mixture, engine)
        write_outputs([*made, *blocks], engine, folder)
    scratch.unlink(missing_ok=True)
    job.write_model_files(folder)
    settings = widened_config(planned_config(config, planned), layout)
    finish_model_files(folder, apply_changes(settings, job.config_changes))


def _merged_first(outputs: Sequence[OutputTensor], engine: Engine, file: Path, base: Checkpoint) -> Checkpoint:
    """What experts of relation full or adapter changed outside feed-forward blocks, merged, in a file of its own."""
    merged = [output for output in outputs if isinstance(output.work, Merge)]
    if not merged:
        return Checkpoint(base.folder, {})
    engine.write(merged, file)
    return Checkpoint(base.folder, read_header(file))


def _shared(output: OutputTensor, wide: WidenedTensors, engine: Engine, source: Checkpoint) -> OutputTensor:
    if output.name.rsplit(".", 2)[-2] in ("q_norm", "k_norm"):
        return OutputTensor(output.name, output.dtype, output.shape, Copy(source.tensors[output.name]))
    return _output(output.name, wide.operand(output.name, Stored(engine.files, source, output.name, "shared")))


def _output(name: str, operand: Operand) -> OutputTensor:
    return OutputTensor(name, operand.dtype, operand.shape, Merge(passthrough, None, (operand,), (1.0,)))


def _with_mean(
    outputs: Sequence[OutputTensor], base: Checkpoint, mixture: Mixture, engine: Engine
) -> list[OutputTensor]:
    """The public slot's feed-forward blocks as the mean of the experts': the base plus the mean of their differences.

    With a single expert the mean is of it and the base: else there would be the same expert twice.
    """
    public = next(number for number, slot in enumerate(mixture.slots) if slot.id == "base")
    others = [slot for slot in mixture.slots if slot.id != "base"]
    others = others if len(others) > 1 else list(mixture.slots)
    extents = mixture_extents(base, mixture.target, mixture.layers, mixture.hidden, mixture.width, len(mixture.slots))
    found = {output.name: output for output in outputs}
    for layer in range(mixture.layers):
        for part in PARTS:
            name = mixture.target.tensor(layer, public, part)
            dtype, shape = extents[name]
            operands = tuple(expert_operand(shape, layer, part, slot, base, mixture.target, engine) for slot in others)
            work = Merge(linear, None, operands, (1.0,) * len(others))
            found[name] = OutputTensor(name, dtype, shape, work)
    return list(found.values())
