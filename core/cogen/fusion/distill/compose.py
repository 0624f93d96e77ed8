"""A group of experts as one model on disk, or as a teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cogen.cache import cached
from cogen.checkpoints.load import load_expert, load_model, own_loaders
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import model_digest
from cogen.files import made_once
from cogen.fusion.distill.sources import OpenModel
from cogen.fusion.distill.teachers.teacher import LocalTeacher
from cogen.fusion.strategies import strategy_of
from cogen.fusion.strategy import Known, Run
from cogen.merging.lora.merge import write_merged
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest


def compose_group(source: OpenModel, reporter: Reporter = SILENT) -> Checkpoint:
    """A plain checkpoint: the base, an expert's own, or what the group's plan builds, kept in the cache."""
    inputs, adapter = source.inputs, None
    if source.plan is None:
        if not inputs.experts:
            return inputs.base
        (expert,) = inputs.experts.values()
        adapter = expert.adapter
        if adapter is None:
            return expert
        key = canonical_digest(["adapted", model_digest(expert)])
    else:
        key = canonical_digest(["composed", source.plan.inputs_digest])

    def make(part: Path) -> None:
        reporter.describe(f"composing {source.group.name}")
        if source.plan is None:
            assert adapter is not None  # anything else is a checkpoint as it is
            write_merged(inputs.base, [adapter], [1.0], part)
        else:
            run = Run(source.plan, inputs, part, Known(), reporter, lambda stage: None)
            strategy_of(source.plan, inputs.host).build(run)

    return open_folder(made_once(cached("distill", f"group-{key[7:39]}"), make))


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
