"""From a plan to the weights of one model: calibrate, search, make routers, write; the one sequence of all fusions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cogen.fusion.merge.calibration import calibrate
from cogen.fusion.merge.inputs import Grams, Inputs
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.merge.measure import MeasureJob, Trial, measure_candidate
from cogen.fusion.merge.outputs import MergeJob
from cogen.fusion.merge.search import ChosenSettings, Measure, search
from cogen.fusion.merge.space import SearchSpace
from cogen.fusion.plan import Plan
from cogen.fusion.strategy import Known
from cogen.merging.method import Method
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

    Rows = dict[str, torch.Tensor]


class Steps(Protocol):
    """What differs between a merge and a mixture of experts."""

    def routers(self, inputs: Inputs, job: MergeJob, given: Known, reporter: Reporter) -> Rows | None:
        """Router rows by slot, shape (layers, hidden); None: the model has no routers."""

    def write(self, job: MergeJob, settings: ChosenSettings, rows: Rows | None, folder: Path, given: Known) -> None:
        """Weights, configuration and tokenizer into ``folder``, which exists and is empty."""


@dataclass(frozen=True)
class Result:
    """What was chosen on the way."""

    settings: ChosenSettings
    trials: list[Trial]
    rows: Rows | None


def evaluation_of(plan: Plan, inputs: Inputs) -> MeasureJob:
    """How the plan's models are measured."""
    level = "quick" if plan.level == "none" else plan.level  # with none there is no matrix
    return MeasureJob(inputs, plan.tokenizer_digest, plan.eval_dtype, level, plan.matrix)


def merge_job(plan: Plan, inputs: Inputs, method: Method, grams: Grams | None = None) -> MergeJob:
    """What the plan merges."""
    return MergeJob(
        method=method,
        base=inputs.base,
        experts=list(inputs.experts.values()),
        planned=plan.experts,
        parameters=plan.parameters,
        grams=grams,
        tokenizer=inputs.composite_tokenizer,
    )


def candidates_of(plan: Plan, inputs: Inputs, job: MergeJob, reporter: Reporter = SILENT) -> Measure:
    """Measures the plan's model with other parameters."""
    # Neither the other candidates nor the budget make this one another: what an earlier search measured is known.
    alone = plan.model_copy(update={"scales": (), "search": 0, "space": {}})
    return partial(measure_candidate, job, evaluation_of(plan, inputs), alone.inputs_digest, reporter=reporter)


def build(
    plan: Plan,
    inputs: Inputs,
    steps: Steps,
    folder: Path,
    *,
    given: Known = Known(),  # noqa: B008 - it cannot be changed
    reporter: Reporter = SILENT,
    lap: Callable[[str], None] = lambda stage: None,
) -> Result:
    """Carry the plan out; here it is taken apart, once, and every step is handed what it needs.

    :raises CompatibilityError: no candidate of a search can be measured.
    """
    method = find_method(inputs.host, plan.method)
    job = merge_job(plan, inputs, method, calibrate(inputs, method, plan.tokenizer_digest, reporter))
    if given.settings is None:
        space = SearchSpace(plan.scales, plan.search, plan.space)
        settings, trials = search(space, job, candidates_of(plan, inputs, job, reporter), reporter)
    else:
        settings, trials = given.settings, list(given.trials)
    lap("search")
    rows = steps.routers(inputs, job, given, reporter)
    if rows is not None:
        lap("routing")
    reporter.describe("writing the composite")
    steps.write(job, settings, rows, folder, given)
    return Result(settings, trials, rows)
