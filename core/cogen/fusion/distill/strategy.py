"""The strategy ``distill``: experts of any family teach one student."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import Matrix, model_digest, run_chat, run_suites
from cogen.evals.matrix import suites_for
from cogen.evals.settings import Level as MeasuredLevel
from cogen.files import copy_contents
from cogen.fusion.details import DistillDetails
from cogen.fusion.distill.compose import compose_group, model_of, teacher_of
from cogen.fusion.distill.losses.names import PREFERENCES, known
from cogen.fusion.distill.losses.plugin import plugin_losses
from cogen.fusion.distill.plan import DistillInputs, plan_distillation
from cogen.fusion.distill.run import DistillMethod, DistillRun, LoadedTeacher, distill, train_control, train_preferences
from cogen.fusion.merge.strategy import OPTIONS as MERGE_OPTIONS
from cogen.fusion.merge.tokenizer_text import tokenizer_text
from cogen.fusion.plan import Plan
from cogen.fusion.recipe import ExpertOptions, FuseRecipe, Level
from cogen.fusion.strategy import Built, Description, Fit, Measurement, Run, Strategy, requested
from cogen.host import Expert, Host
from cogen.reporter import Reporter
from cogen.training.trainer import StepProgress

if TYPE_CHECKING:
    from cogen.fusion.merge.search import ChosenSettings

_HOW = {"unified": "in one run with all teachers", "pairwise": "in one run for each teacher, averaged"}
_WHO = {
    "best": "the teacher that predicts a text best teaches it",
    "static": "every teacher teaches every text",
}


class DistillStrategy(Strategy[Plan, DistillInputs]):
    """See the module."""

    name = "distill"
    title = "one student, distilled from experts of any family"
    options = frozenset({"distill"})

    def fit(self, host: Host, chosen: Sequence[Expert], recipe: FuseRecipe) -> Fit:
        """Natural for experts of several bases; a loss as the method asks for it."""
        asked = requested(recipe)
        if super().fit(host, chosen, recipe) is Fit.REQUESTED:
            return Fit.REQUESTED
        losses = {*known(), *host.losses()} if "method" in asked else set()
        if recipe.method.split("+")[0] in losses:
            return Fit.REQUESTED
        several = len({expert.spec.model.lineage for expert in chosen}) > 1
        return Fit.NATURAL if several and not asked & MERGE_OPTIONS else Fit.NO

    def plan(self, host: Host, recipe: FuseRecipe, reporter: Reporter) -> tuple[Plan, DistillInputs]:
        return plan_distillation(host, recipe, reporter=reporter)

    def models(self, inputs: DistillInputs) -> Mapping[str, Checkpoint]:
        found = dict(inputs.common.models)
        for group in inputs.teachers:
            found |= group.inputs.experts | {f"base of {group.group.name}": group.inputs.base}
        return found | inputs.student.inputs.experts

    def build(self, run: Run[Plan, DistillInputs]) -> Built:
        plan, inputs, reporter, details = run.plan, run.inputs, run.reporter, details_of(run.plan)
        student = compose_group(inputs.student, reporter)
        teachers = [
            LoadedTeacher(planned.name, teacher_of(source, reporter), planned.weight)
            for source, planned in zip(inputs.teachers, details.teachers, strict=True)
        ]
        run.lap("compose")
        setup = DistillRun(student, inputs.student.tokenizer, plan.tokenizer_digest, inputs.items, details.settings)
        prefers = plan.method in PREFERENCES
        plain = replace(setup, items=inputs.items[: len(inputs.items) // 2]) if prefers else setup
        steps = _steps(details.tokens, reporter)
        control = train_control(plain, steps("the control, without teachers"))
        run.lap("control")
        extra = plugin_losses(inputs.common.host, plan.method)
        method = DistillMethod(plan.method, plan.parameters, extra)  # type: ignore[arg-type]
        train = train_preferences if prefers else distill
        trained = train(setup, teachers, method, steps("distilling"), reporter)
        copy_contents(trained, run.folder)
        run.lap("teach")
        hint = "a training repeats its bits on the machine, threads and versions that the lock names"
        return Built(hint=hint, state=(student, control))

    def measure(self, run: Run[Plan, DistillInputs], built: Built) -> Measurement:
        matrix, level = None, run.plan.level
        if level != "none" and run.plan.suites:
            student, control = built.state
            matrix = _matrix(run.plan, level, run.inputs, student, control, run.folder, run.reporter)
        run.lap("measure")
        return Measurement(matrix)

    # ---- words ------------------------------------------------------------------------------------

    def describe(self, plan: Plan, settings: ChosenSettings | None = None, trials: int = 0) -> Description:
        found = details_of(plan)
        options, several = found.settings, len(found.teachers) > 1
        trained = "all weights" if options.mode == "full" else f"LoRA of rank {options.rank}"
        student = found.pivot.name if found.pivot.experts else plan.base.name
        summary = (
            f"{student} learned {found.tokens:,} tokens of {found.texts:,} texts from "
            f"{', '.join(teacher.name for teacher in found.teachers)} with the loss {plan.method}"
            f"{f', {_HOW[options.arrangement]}' if several else ''}; {trained} were trained"
        )
        who = f", {_HOW[options.arrangement]}; {_WHO[options.mix]}" if several else ""
        composed = {
            teacher.name: f"Teacher of {len(teacher.experts)}" for teacher in found.teachers if teacher.composed
        }
        return Description(
            kind="distilled model",
            relation="finetune",
            how=f"method {plan.method}",
            tag=plan.method,
            architecture=plan.architecture,
            summary=summary,
            origin=f"of which some taught the others; it descends from {plan.base.name}",
            lineage=summary,
            made=f"Strategy {plan.strategy}: {summary}; {tokenizer_text(plan)}",
            replay="on the machine and with the versions that the lock names",
            intro=f"Other models taught it: {summary}.",
            built=(f"distilled by {plan.method}", plan.license),
            titles={"base": "Student before", "control": "Control"} | composed,
            notes={
                "base": " + ".join(found.pivot.experts) or plan.base.name,
                "composite": "the student after distillation",
                "control": "the same texts, no teachers",
                **{teacher.name: teacher.name for teacher in found.teachers},
                **{id: "teacher" for teacher in found.teachers for id in teacher.experts},
            },
            steps=found.stages,
            seed=options.seed,
            lines=(
                f"learns {found.tokens:,} tokens of {found.texts:,} texts ({found.text_bytes / 1e6:.2f} MB), "
                f"{trained}{who}",
            ),
            data={"distillation": found.model_dump(mode="json", exclude={"strategy"})},
        )

    # ---- recipes ----------------------------------------------------------------------------------

    def recipe(self, plan: Plan, settings: ChosenSettings | None = None, level: Level | None = None) -> FuseRecipe:
        return FuseRecipe.model_validate(
            {
                "experts": {e.id: ExpertOptions(weight=e.weight, parameters=e.parameters) for e in plan.experts},
                "strategy": plan.strategy,
                "method": plan.method,
                "parameters": plan.parameters,
                "level": level or plan.level,
                "matrix": plan.matrix,
                "distill": details_of(plan).settings,
            }
        )


def details_of(plan: Plan) -> DistillDetails:
    """What a plan of this strategy has of its own."""
    assert isinstance(plan.details, DistillDetails)
    return plan.details


def _steps(tokens: int, reporter: Reporter) -> Callable[[str], Callable[[StepProgress], None]]:
    """Makes what a training reports its steps to."""

    def named(what: str) -> Callable[[StepProgress], None]:
        def report(step: StepProgress) -> None:
            reporter.describe(f"{what}: step {step.step} of {step.steps}, loss {step.loss:.3f}")
            reporter.advance(round(tokens / step.steps))

        return report

    return named


def _matrix(
    plan: Plan,
    level: MeasuredLevel,
    inputs: DistillInputs,
    student: Checkpoint,
    control: Path,
    whole: Path,
    reporter: Reporter,
) -> Matrix:
    """Rows: the student as it was ("base"), every expert, teachers made of several, the control, the composite.

    Experts and teachers have figures of their own suites and general text, or with a full matrix of all.
    """
    own = (inputs.common.tokenizer, plan.tokenizer_digest)
    models: dict[str, tuple[tuple[Any, str], str, Callable[[], Any]]] = {}

    def plain(row: str, folder: Checkpoint) -> None:
        models[row] = own, model_digest(folder), lambda: load_model(folder, plan.eval_dtype)

    plain("base", student)
    for source in (inputs.student, *inputs.teachers):
        for id, checkpoint in source.inputs.experts.items():
            digest, load = model_of(source.alone(id, checkpoint), plan.eval_dtype)
            models[id] = (source.tokenizer, source.tokenizer_digest), digest, load
    models = {"base": models["base"], **{id: models[id] for id in sorted(models.keys() - {"base"})}}
    stands_for: dict[str, tuple[str, ...]] = {id: (id,) for id in models if id != "base"}
    for source in inputs.teachers:
        if source.plan is not None:
            digest, load = model_of(source, plan.eval_dtype)
            models[source.group.name] = (source.tokenizer, source.tokenizer_digest), digest, load
            stands_for[source.group.name] = tuple(source.inputs.experts)
    plain("control", open_folder(control))
    plain("composite", open_folder(whole))
    rows = {}
    for row, ((tokenizer, tokens), digest, load) in models.items():
        reporter.describe(row)
        once = functools.cache(load)
        rows[row] = run_suites(
            once,
            tokenizer,
            suites_for(stands_for.get(row), inputs.common.suites, plan.matrix),
            model_digest=digest,
            tokenizer_digest=tokens,
            split="test",
            level=level,
            dtype=plan.eval_dtype,
            reporter=reporter,
            chooser=own,
        )
        if level == "full" or row in ("base", "composite"):
            chat = run_chat(
                once,
                tokenizer,
                model_digest=digest,
                tokenizer_digest=tokens,
                level=level,
                dtype=plan.eval_dtype,
                reporter=reporter,
            )
            rows[row] += [chat] if chat is not None else []
    return Matrix.of(rows, [bound.name for bound in inputs.common.suites])


DISTILL = DistillStrategy()
