"""Choosing a composite on the experts' dev splits: by a few scales, by an optimiser, or expert by expert.

The objective is the mean of the logarithms of bits per byte over the experts' suites, so that a saving of one percent
weighs the same in every domain. Test splits and the general suite play no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cogen.errors import CompatibilityError, PluginError, UsageError
from cogen.fusion.merge.measure import Trial, mean_log
from cogen.fusion.merge.optimiser import Optimiser
from cogen.fusion.merge.outputs import MergeJob
from cogen.fusion.merge.space import SearchSpace
from cogen.merging.methods.greedy_soup import greedy
from cogen.reporter import SILENT, Reporter


@dataclass(frozen=True)
class ChosenSettings:
    """What to build: the scale, and what else was chosen; a weight is called ``weight.ID``."""

    scale: float
    parameters: dict[str, float] = field(default_factory=dict)


#: Bits per byte by suite of the composite with a scale and parameters.
Measure = Callable[[Mapping[str, float]], dict[str, float]]


def search(
    space: SearchSpace, job: MergeJob, measure: Measure, reporter: Reporter = SILENT
) -> tuple[ChosenSettings, list[Trial]]:
    """The best of at most ``space.evaluations`` candidates, and all of them in the order in which they were measured.

    A candidate that cannot be built or has no finite figures is kept in the list with the reason, and never chosen.

    :raises CompatibilityError: no candidate can be measured.
    """
    if not space.evaluations:
        return ChosenSettings(space.scales[0]), []
    trials = _Trials(space, job, measure, reporter)
    look = _soup if job.method.selects else _tuned if space.search else _grid
    choice = look(trials)
    if choice is None:
        raise CompatibilityError(
            f"none of {len(trials.done)} candidates can be measured: {trials.done[0].failure}",
            hint="choose another method, or narrow what is tuned with --tune",
        )
    return choice, trials.done


class _Trials:
    """Measures candidates and remembers them."""

    def __init__(self, space: SearchSpace, job: MergeJob, measure: Measure, reporter: Reporter) -> None:
        self.space, self.job = space, job
        self._measure, self._reporter = measure, reporter
        self.done: list[Trial] = []

    def measure(self, scale: float, parameters: Mapping[str, float]) -> Trial:
        """One candidate; ``objective`` is ``None`` if it failed."""
        self._reporter.describe(f"candidate {len(self.done) + 1} of {self.space.evaluations}")
        point = dict(parameters)
        try:
            values = self._measure({"scale": scale, **point})
        except (UsageError, ArithmeticError, PluginError) as error:
            # A value that the method refuses, weights that sum to zero; any other failure of a plugin ends the search.
            if isinstance(error, PluginError) and not isinstance(error.__cause__, ArithmeticError):
                raise
            trial = Trial(scale, None, {}, point, str(error))
        else:
            odd = sorted(name for name, value in values.items() if not (math.isfinite(value) and value > 0))
            if odd:
                trial = Trial(scale, None, {}, point, f"no finite bits per byte on {odd[0]}")
            else:
                trial = Trial(scale, mean_log(values), values, point)
        self.done.append(trial)
        return trial

    def best(self) -> ChosenSettings | None:
        """Of those that were measured, the first one among equals."""
        measured = [(trial.objective, trial) for trial in self.done if trial.objective is not None]
        if not measured:
            return None
        _, found = min(measured, key=lambda one: one[0])
        return ChosenSettings(found.scale, found.parameters)


def _grid(trials: _Trials) -> ChosenSettings | None:
    """Every scale; they are sorted, so the smallest one among equals."""
    for scale in trials.space.scales:
        trials.measure(scale, {})
    return trials.best()


def _tuned(trials: _Trials) -> ChosenSettings | None:
    """An optimiser within the space; it begins where no search would have gone wrong: at the defaults."""
    space = trials.space
    optimiser = Optimiser(space.space, first_point(space, trials.job))
    for _ in range(space.search):
        point = optimiser.ask()
        scale = point.pop("scale", space.scales[0])
        optimiser.tell(trials.measure(scale, point).objective)
    return trials.best()


def first_point(space: SearchSpace, job: MergeJob) -> dict[str, float]:
    """Where tuning starts, in the space: what the plan has, the middle of its scales, else the method's default."""
    weights = {f"weight.{expert.id}": expert.weight for expert in job.planned}
    middle = space.scales[len(space.scales) // 2]
    given: dict[str, Any] = {**job.method.parameters, **job.parameters, **weights, "scale": middle}
    found = {}
    for name, (low, high) in space.space.items():
        value = given[name]
        known = isinstance(value, int | float) and not isinstance(value, bool)
        found[name] = min(max(float(value), low), high) if known else (low + high) / 2
    return found


def _soup(trials: _Trials) -> ChosenSettings | None:
    """:func:`greedy` over the experts; a candidate is a weight of 1 or 0 for each."""
    ids = [expert.id for expert in trials.job.planned]

    def weights(soup: tuple[str, ...]) -> dict[str, float]:
        return {f"weight.{id}": float(id in soup) for id in ids}

    scale = trials.space.scales[0]
    soup = greedy(ids, lambda soup: trials.measure(scale, weights(soup)).objective)
    return ChosenSettings(scale, weights(soup)) if soup else None
