"""One distillation from plan to folder: compose, score, train control and student, measure, and what is left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cogen.artifacts.card import write_card
from cogen.runs.fuse import LOCK, REPORT, Outcome
from cogen.artifacts.lock import Lock, make_lock, verify, write_lock
from cogen.artifacts.report.report import write_report
from cogen.reporter import SILENT
from cogen.files import atomic_folder
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import PlanError
from cogen.evals import Matrix, model_digest, run_suites
from cogen.fusion.distill.compose import compose_group, model_of, teacher_of
from cogen.fusion.distill.losses.names import PREFERENCES
from cogen.fusion.distill.plan import DistillInputs
from cogen.fusion.distill.run import LoadedTeacher, DistillMethod, DistillRun, train_control, train_preferences, distill
from cogen.merging.output_folder import check_output_folder
from cogen.fusion.plan import Plan
from cogen.host import Expert
from cogen.training.trainer import StepProgress


def fuse_distilled(
    plan: Plan,
    inputs: DistillInputs,
    experts: Sequence[Expert],
    output: Path,
    *,
    replay: Lock | None = None,
    progress: Any = None,
) -> Outcome:
    """Build ``output`` whole, or leave what was there.

    :param replay: a lock whose digests the weights must have.
    :raises UsageError: ``output`` holds something that is not ours.
    :raises PlanError: a replay did not give the lock's bits; nothing is written.
    """
    reporter = progress or SILENT
    check_output_folder(output)
    assert plan.distillation is not None
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage] = round(time.monotonic() - clock, 1)
        clock = time.monotonic()

    def told(what: str) -> Any:
        def report(step: StepProgress) -> None:
            if progress:
                progress.describe(f"{what}: step {step.step} of {step.steps}, loss {step.loss:.3f}")
                progress.advance(round(plan.distillation.tokens / step.steps))  # type: ignore[union-attr]

        return report

    pivot = compose_group(inputs.student, reporter)
    teachers = [
        LoadedTeacher(told_.name, teacher_of(source, reporter), told_.weight)
        for source, told_ in zip(inputs.teachers, plan.distillation.teachers, strict=True)
    ]
    lap("compose")
    setup = DistillRun(pivot, inputs.student.tokenizer, plan.tokenizer_digest, inputs.items, plan.distillation.settings)
    prefers = plan.method in PREFERENCES
    half = len(inputs.items) // 2
    plain = replace(setup, items=inputs.items[:half]) if prefers else setup
    alone = train_control(plain, told("the control, without teachers"))
    lap("control")
    method = DistillMethod(plan.method, plan.parameters)  # type: ignore[arg-type]
    student = (train_preferences if prefers else distill)(setup, teachers, method, told("teaching"), reporter)
    lap("teach")
    with atomic_folder(output, replace=True) as part:
        shutil.copytree(student, part, dirs_exist_ok=True)
        wrong = [name for name in verify(replay, part) if name.endswith(".safetensors")] if replay else []
        if wrong:
            raise PlanError(
                f"the replay gave other bits in {wrong[0]}",
                hint="a training repeats its bits on the machine, threads and versions that the lock names",
            )
        matrix = None if plan.level == "none" else _matrix(plan, inputs, pivot, alone, part, reporter)
        lap("measure")
        lock = make_lock(plan, 1.0, [], part, matrix)
        write_lock(lock, part / LOCK)
        write_card(part, lock, matrix, list(experts))
        write_report(part / REPORT, lock, plan, matrix, [], list(experts), None)
    return Outcome(output, 1.0, {}, [], matrix, lock, seconds)


def _matrix(plan: Plan, inputs: DistillInputs, pivot: Any, alone: Path, whole: Path, progress: Any) -> Matrix:
    """Rows: the pivot as it was ("base"), every expert, teachers made of several, the control, the composite."""
    own = (inputs.common.tokenizer, plan.tokenizer_digest)
    models: dict[str, tuple[tuple[Any, str], str, Any]] = {}

    def plain(row: str, folder: Any) -> None:
        models[row] = own, model_digest(folder), lambda: load_model(folder, plan.eval_dtype)

    plain("base", pivot)
    for source in (inputs.student, *inputs.teachers):
        for id, checkpoint in source.inputs.experts.items():
            digest, load = model_of(source.alone(id, checkpoint), plan.eval_dtype)
            models[id] = (source.tokenizer, source.tokenizer_digest), digest, load
    models = {"base": models["base"], **{id: models[id] for id in sorted(models.keys() - {"base"})}}
    for source in inputs.teachers:
        if source.plan is not None:
            digest, load = model_of(source, plan.eval_dtype)
            models[source.group.name] = (source.tokenizer, source.tokenizer_digest), digest, load
    plain("control", open_folder(alone))
    plain("composite", open_folder(whole))
    rows = {}
    for row, ((tokenizer, tokens), digest, load) in models.items():
        if progress:
            progress.describe(row)
        rows[row] = run_suites(
            load,
            tokenizer,
            inputs.common.suites,
            model_digest=digest,
            tokenizer_digest=tokens,
            split="test",
            level=plan.level,
            dtype=plan.eval_dtype,
            reporter=progress,
            chooser=own,
        )
    return Matrix.of(rows)
