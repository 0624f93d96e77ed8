"""Choosing a composite on the experts' dev parts: by a few scales, by an optimiser, or expert by expert.

The objective is the mean of the logarithms of bits per byte over the experts' suites, so that a saving of one percent
weighs the same in every domain. Test parts and the general suite play no part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.merge.measure import Trial, mean_log, measure_candidate
from cogen.fusion.merge.optimiser import Optimiser
from cogen.fusion.plan import Plan
from cogen.fusion.planner import Inputs
from cogen.merging.method import Method
from cogen.merging.methods.greedy_soup import greedy


@dataclass(frozen=True)
class ChosenSettings:
    """What to build: the scale, and what else was chosen; a weight is called ``weight.ID``."""

    scale: float
    parameters: dict[str, float] = field(default_factory=dict)


def search(plan: Plan, inputs: Inputs, method: Method, progress: Any = None) -> tuple[ChosenSettings, list[Trial]]:
    """The best of at most ``plan.evaluations`` candidates, and all of them in the order in which they were measured.

    A candidate that cannot be built or has no finite figures is kept in the list with the reason, and never chosen.

    :raises CompatibilityError: no candidate can be measured.
    """
    if not plan.evaluations:
        return ChosenSettings(plan.scales[0]), []
    trials = _Trials(plan, inputs, method, progress)
    look = _soup if method.selects else _tuned if plan.search else _grid
    choice = look(trials)
    if choice is None:
        raise CompatibilityError(
            f"none of {len(trials.done)} candidates can be measured: {trials.done[0].failure}",
            hint="choose another method, or narrow what is tuned with --tune",
        )
    return choice, trials.done


class _Trials:
    """Measures candidates and remembers them."""

    def __init__(self, plan: Plan, inputs: Inputs, method: Method, progress: Any) -> None:
        self.plan, self.method = plan, method
        self._inputs, self._progress = inputs, progress
        self.done: list[Trial] = []

    def measure(self, scale: float, parameters: Mapping[str, float]) -> Trial:
        """One candidate; ``objective`` is ``None`` if it failed."""
        if self._progress:
            self._progress.describe(f"candidate {len(self.done) + 1} of {self.plan.evaluations}")
        point = dict(parameters)
        try:
            values = measure_candidate(self.plan, self._inputs, self.method, {"scale": scale, **point}, self._progress)
        except (UsageError, ArithmeticError) as error:  # a value that the method refuses, weights that sum to zero
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
        measured = [trial for trial in self.done if trial.objective is not None]
        if not measured:
            return None
        found = min(measured, key=lambda trial: trial.objective)
        return ChosenSettings(found.scale, found.parameters)


def _grid(trials: _Trials) -> ChosenSettings | None:
    """Every scale of the plan; they are sorted, so the smallest one among equals."""
    for scale in trials.plan.scales:
        trials.measure(scale, {})
    return trials.best()


def _tuned(trials: _Trials) -> ChosenSettings | None:
    """An optimiser within the plan's space; it begins where no search would have gone wrong: at the defaults."""
    plan = trials.plan
    optimiser = Optimiser(plan.space, first_point(plan, trials.method))
    for _ in range(plan.search):
        point = optimiser.ask()
        scale = point.pop("scale", plan.scales[0])
        optimiser.tell(trials.measure(scale, point).objective)
    return trials.best()


def first_point(plan: Plan, method: Method) -> dict[str, float]:
    """Where tuning starts, in the space: what the plan says, the middle of its scales, else the method's default."""
    weights = {f"weight.{expert.id}": expert.weight for expert in plan.experts}
    said = {**method.parameters, **plan.parameters, **weights, "scale": plan.scales[len(plan.scales) // 2]}
    found = {}
    for name, (low, high) in plan.space.items():
        value = said[name]
        known = isinstance(value, int | float) and not isinstance(value, bool)
        found[name] = min(max(float(value), low), high) if known else (low + high) / 2
    return found


def _soup(trials: _Trials) -> ChosenSettings | None:
    """:func:`greedy` over the plan's experts; a candidate is a weight of 1 or 0 for each."""
    ids = [expert.id for expert in trials.plan.experts]

    def weights(soup: tuple[str, ...]) -> dict[str, float]:
        return {f"weight.{id}": float(id in soup) for id in ids}

    scale = trials.plan.scales[0]
    soup = greedy(ids, lambda soup: trials.measure(scale, weights(soup)).objective)
    return ChosenSettings(scale, weights(soup)) if soup else None
