"""A group of experts as one model on disk, or as a teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cogen.checkpoints.load import load_expert, load_model, own_loaders
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import model_digest
from cogen.files import cache_dir, made_once
from cogen.fusion.distill.sources import OpenModel
from cogen.fusion.distill.teachers.teacher import LocalTeacher
from cogen.fusion.merge.calibration import calibrated
from cogen.fusion.merge.outputs import write_composite
from cogen.fusion.merge.search import search
from cogen.fusion.moe.routers import untrained_rows
from cogen.fusion.moe.train_routers import trained_rows
from cogen.fusion.moe.write import write_mixture
from cogen.fusion.planner import Inputs, find_method
from cogen.merging.lora.merge import write_merged
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest


def compose_group(source: OpenModel, reporter: Reporter = SILENT) -> Checkpoint:
    """A plain checkpoint: the base, an expert's own, or what the group's plan builds, kept in the cache."""
    inputs = source.inputs
    if source.plan is None:
        if not inputs.experts:
            return inputs.base
        (expert,) = inputs.experts.values()
        if expert.adapter is None:
            return expert
        key = canonical_digest(["adapted", model_digest(expert)])
    else:
        key = canonical_digest(["composed", source.plan.inputs_digest])

    def make(part: Path) -> None:
        reporter.describe(f"putting {source.group.name} together")
        if source.plan is None:
            write_merged(inputs.base, [expert.adapter], [1.0], part)
        else:
            _build(source, inputs, part, reporter)

    return open_folder(made_once(cache_dir() / "distill" / f"group-{key[7:39]}", make))


def _build(source: OpenModel, inputs: Inputs, part: Any, reporter: Reporter) -> None:
    plan = source.plan
    assert plan is not None
    method = find_method(inputs.host, plan.method)
    if plan.mixture is not None:
        rows = untrained_rows(plan, inputs, None, reporter)
        if plan.mixture.tuned:
            rows = trained_rows(plan, inputs, method, rows, reporter)
        write_mixture(plan, inputs, method, rows, part)
        return
    inputs = calibrated(plan, inputs, method, reporter)
    choice, _ = search(plan, inputs, method, reporter)
    write_composite(
        plan,
        inputs.base,
        list(inputs.experts.values()),
        method,
        {"scale": choice.scale, **choice.parameters},
        part,
        grams=inputs.grams,
        lexicon=inputs.lexicon,
    )


def model_of(source: OpenModel, dtype: str, reporter: Reporter = SILENT) -> tuple[str, Callable[[], Any]]:
    """Digest of a group's model, and what loads it."""
    inputs = source.inputs
    if source.plan is None and inputs.experts:
        ((id, checkpoint),) = inputs.experts.items()
        spec = inputs.host.expert(id).spec
        return model_digest(checkpoint, own_loaders(inputs.host)), lambda: load_expert(
            inputs.host, spec, checkpoint, dtype
        )
    whole = compose_group(source, reporter)
    return model_digest(whole), lambda: load_model(whole, dtype)


def teacher_of(source: OpenModel, reporter: Reporter = SILENT) -> LocalTeacher:
    """The group's model as a teacher, in bfloat16."""
    digest, load = model_of(source, "bfloat16", reporter)
    return LocalTeacher(load, source.tokenizer, digest)
