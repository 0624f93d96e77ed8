"""``cogen.train``: from a training recipe to an expert plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cogen.api.checks import as_names, as_path, check_callable, check_reporter
from cogen.api.options import PathLike
from cogen.extras import require
from cogen.reporter import SILENT, Reporter, begin

if TYPE_CHECKING:
    from cogen.evals import SuiteResult
    from cogen.forge.account import SourceAccount
    from cogen.forge.build import PreparedTraining
    from cogen.forge.corpus import CorpusParts
    from cogen.forge.estimate import Estimate
    from cogen.forge.recipe import TrainRecipe
    from cogen.forge.train import Tracking
    from cogen.spec.expert import ExpertSpec
    from cogen.spec.suite import PrivateSuite
    from cogen.training.trainer import StepProgress


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would take.

    :param estimate: steps, tokens, seconds and memory, from one step that was run on this machine.
    :param sources: tokens of the training split by source.
    :param corpus: the texts, split and cleaned.
    """

    recipe: TrainRecipe
    estimate: Estimate
    sources: dict[str, int]
    corpus: CorpusParts


@dataclass(frozen=True)
class TrainedExpert:
    """An expert that was trained and packaged: its manifest, and the folder of its plugin.

    :param at_home: figures on held-out text of sources that let nothing leave (``leaves = "nothing"``), measured where
        no other suite exists. They stand in no file of the package.
    :param accounts: of each source, what was read, kept and dropped, and why.
    :param chat: base and expert on the first questions of the chat suite; ``None`` if the base has no chat template.
    """

    expert: ExpertSpec
    folder: Path
    at_home: PrivateSuite | None = None
    accounts: tuple[SourceAccount, ...] = ()
    chat: tuple[SuiteResult, SuiteResult] | None = None


#: Called with the plan before the first step; what it raises stops the run.
OnPlan: TypeAlias = "Callable[[TrainingPlan], None] | None"


def plan_training(recipe: PathLike, *, reporter: Reporter = SILENT) -> TrainingPlan:
    """What :func:`train` would take; runs one step to find out, and keeps nothing of it.

    :raises SpecError, SourceError, TrainError: a recipe that cannot be read or carried out.
    """
    require("fuse", "cogen.plan_training")
    from cogen.forge.build import prepare
    from cogen.forge.personal_data import report

    check_reporter(reporter)
    prepared = prepare(as_path("recipe", recipe), reporter)
    report(prepared.recipe, prepared.corpus, reporter)
    return _plan(prepared, reporter)


def train(
    recipe: PathLike,
    *,
    report_to: Sequence[str] = (),
    callbacks: Sequence[Any] = (),
    on_plan: OnPlan = None,
    reporter: Reporter = SILENT,
) -> TrainedExpert:
    """Train an expert on its recipe's texts and write weights, suites and data card into its plugin.

    Killed and started again, it resumes. The same recipe on the same machine and thread count gives the same weights.

    :param report_to: experiment trackers by transformers' names, such as "wandb", "trackio", "tensorboard", "mlflow";
        beside those of the recipe.
    :param callbacks: ``transformers.TrainerCallback`` objects or classes that follow the training.
    :param on_plan: called before the first step, unless this recipe was trained before.
    :raises UsageError: a tracker that is not known or not installed, or one for texts of which nothing may leave.
    :raises SpecError, SourceError, TrainError: a recipe that cannot be read or carried out.
    """
    require("fuse", "cogen.train")
    from cogen.forge.build import prepare
    from cogen.forge.private_folder import one_training
    from cogen.forge.recipe import read_recipe

    check_reporter(reporter)
    check_callable("on_plan", on_plan)
    found = read_recipe(as_path("recipe", recipe))
    home = as_path("recipe", recipe).resolve().parent
    tracking = _tracking(found, as_names("report_to", report_to), tuple(callbacks))
    with one_training(home, home / found.plugin, found.private):
        return _trained(prepare(as_path("recipe", recipe), reporter), on_plan, reporter, tracking)


def _tracking(recipe: TrainRecipe, report_to: Sequence[str], callbacks: tuple[Any, ...]) -> Tracking:
    """:raises UsageError: see :func:`train`."""
    from cogen.errors import UsageError
    from cogen.forge.audit import lets_nothing_leave
    from cogen.forge.train import Tracking, check_trackers

    names = tuple(dict.fromkeys((*recipe.training.report_to, *report_to)))
    check_trackers(names)
    if names and (lets_nothing_leave(recipe) or recipe.training.privacy is not None):
        raise UsageError(
            "report_to would send losses on text of which nothing may leave, or that is trained on with privacy",
            hint="leave report_to out; progress is shown here",
        )
    return Tracking(names, recipe.training.run_name, callbacks)


def _trained(prepared: PreparedTraining, on_plan: OnPlan, reporter: Reporter, tracking: Tracking) -> TrainedExpert:
    from cogen.forge.asking import ask
    from cogen.forge.build import rehearsed, run_training
    from cogen.forge.package import package
    from cogen.forge.personal_data import report
    from cogen.forge.rehearsal import planned_tokens
    from cogen.scaffold.project import fill_in

    report(prepared.recipe, prepared.corpus, reporter)
    if on_plan is not None and not (prepared.run / "result").is_dir():
        on_plan(_plan(prepared, reporter))
    training = prepared.recipe.training
    if prepared.rehearsed_blocks and not (prepared.run / "result").is_dir():
        needed = prepared.rehearsed_blocks * training.sequence_length
        total = planned_tokens(needed, prepared.recipe.card.languages)
        begin(reporter, "the base writes text for the rehearsal", total, "tokens")
        rehearsed(prepared, reporter)
    begin(reporter, "training", prepared.recipe.training.steps, "steps")
    seen = 0

    def step_done(step: StepProgress) -> None:
        nonlocal seen
        reporter.advance(step.step - seen)
        seen = step.step
        left = duration(step.seconds_left)
        reporter.describe(f"loss {step.loss:.3f}, {step.tokens_per_second:,.0f} tokens/s, {left} left")

    result = run_training(prepared, step_done, reporter, tracking)
    begin(reporter, "measuring", None, "tokens")
    packaged = package(prepared, result, reporter)
    # What the recipe settles is settled for a package that `cogen new` made, too.
    fill_in(prepared.home, prepared.recipe.card.license, prepared.recipe.card.publisher)
    begin(reporter, "asking base and expert plain questions", None, "tokens")
    return TrainedExpert(
        packaged.expert,
        prepared.home / prepared.recipe.plugin,
        at_home=packaged.at_home,
        accounts=tuple(prepared.corpus.accounts),
        chat=ask(prepared, result, reporter),
    )


def duration(seconds: float) -> str:
    """Of an estimate: "40 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _plan(prepared: PreparedTraining, reporter: Reporter) -> TrainingPlan:
    from cogen.forge.build import plan

    begin(reporter, "timing one step", None)
    return TrainingPlan(prepared.recipe, plan(prepared), prepared.source_tokens, prepared.corpus)
