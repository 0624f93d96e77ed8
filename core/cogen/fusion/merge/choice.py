"""What a search chose, and out of what, in words; the same ones in the report, the card and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cogen.phrases import change, enumerated

if TYPE_CHECKING:
    from cogen.fusion.plan import Plan, PlannedExpert
    from cogen.merging.parameters import Setting

_WEIGHT = "weight."


class AnyTrial(Protocol):
    """A trial of a search, or one that a lock has; see :class:`cogen.fusion.merge.measure.Trial`."""

    @property
    def scale(self) -> float: ...
    @property
    def objective(self) -> float | None: ...
    @property
    def bits_per_byte(self) -> dict[str, float]: ...
    @property
    def parameters(self) -> dict[str, float]: ...
    @property
    def failure(self) -> str: ...


@dataclass(frozen=True)
class Candidate:
    """A row of the table of trials: ``values`` belong to :func:`columns`, ``figures`` to the suites."""

    number: int
    values: tuple[str, ...]
    #: Geometric mean of bits per byte; ``None`` if it could not be measured.
    mean: float | None
    figures: tuple[str, ...]
    chosen: bool
    failure: str


def columns(trials: Sequence[AnyTrial]) -> list[str]:
    """What differs between the trials: the scale, parameters, weights as ``weight.ID``."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    return names if names and len({trial.scale for trial in trials}) == 1 else ["scale", *names]


def suites(trials: Sequence[AnyTrial]) -> list[str]:
    """Whose figures the trials have."""
    return list(dict.fromkeys(name for trial in trials for name in trial.bits_per_byte))


def candidates(trials: Sequence[AnyTrial], scale: float, parameters: Mapping[str, float]) -> list[Candidate]:
    """Every trial in the order in which it was made; one of them is the chosen one."""
    names, measured = columns(trials), suites(trials)
    number = next((i for i, t in enumerate(trials) if (t.scale, dict(t.parameters)) == (scale, dict(parameters))), None)
    found = []
    for i, trial in enumerate(trials):
        point = {"scale": trial.scale, **trial.parameters}
        figures = (trial.bits_per_byte.get(name) for name in measured)
        found.append(
            Candidate(
                i + 1,
                tuple(setting(point[name]) if name in point else "" for name in names),
                None if trial.objective is None else math.exp(trial.objective),
                tuple("" if figure is None else f"{figure:.4f}" for figure in figures),
                i == number,
                trial.failure,
            )
        )
    return found


def selects(plan: Plan) -> bool:
    """The search chose among the experts."""
    return bool(plan.search) and not plan.space


def label(name: str) -> str:
    """``weight.power`` → "weight of power"; others as they are called."""
    return f"weight of {name.removeprefix(_WEIGHT)}" if name.startswith(_WEIGHT) else name


def setting(value: Setting) -> str:
    """A parameter's value in one line: numbers, gradients and conditions."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    if value and hasattr(value[0], "filter"):
        conditions: Any = value
        return "; ".join(
            f"{setting(one.value)} {'else' if one.filter in (None, '*') else f'for {one.filter}'}" for one in conditions
        )
    return f"[{', '.join(setting(one) for one in value)}]"  # type: ignore[arg-type]


def weight(expert: PlannedExpert, parameters: Mapping[str, float]) -> str:
    """The weight that an expert had in the end, and the parameters that are its own."""
    value = parameters.get(f"{_WEIGHT}{expert.id}", expert.weight)
    return "; ".join([setting(value), *(f"{name} {setting(own)}" for name, own in expert.parameters.items())])


def planned(plan: Plan) -> list[str]:
    """What the search of a plan will look at, in lines."""
    scales = ", ".join(f"{scale:g}" for scale in plan.scales)
    lines = [f"scale: searched over {scales} on the dev splits" if len(plan.scales) > 1 else f"scale: {scales}"]
    if "scale" in plan.space:
        lines = []
    given = {name: setting(value) for name, value in plan.parameters.items() if name not in plan.space}
    lines += [f"{name}: {value}" for name, value in given.items()]
    if selects(plan):
        return [f"search: at most {plan.search} evaluations on the dev splits choose among the experts"]
    if plan.space:
        ranges = [f"{label(name)} from {low:g} to {high:g}" for name, (low, high) in plan.space.items()]
        lines.append(f"search: {plan.search} evaluations on the dev splits tune {enumerated(ranges)}")
    return lines


def settings(plan: Plan, scale: float, parameters: Mapping[str, float]) -> str:
    """ "scale 0.6, density 0.4, weight of power 1.3"; with a search among the experts, those that were kept."""
    if selects(plan):
        return f"{enumerated(_kept(parameters))} out of {len(plan.experts)} experts"
    named = {"scale": scale, **plan.parameters, **parameters}
    return ", ".join(f"{label(name)} {setting(value)}" for name, value in named.items())


def sentence(plan: Plan, scale: float, parameters: Mapping[str, float], trials: Sequence[AnyTrial]) -> str | None:
    """What the search chose, and what it gained; ``None`` where nothing was searched for."""
    if not trials:
        return None
    if selects(plan):
        kept = _kept(parameters)
        return (
            f"Of its {len(plan.experts)} experts, the average of {enumerated(kept)} did best on development texts "
            f"({len(trials)} candidates)."
            if len(kept) > 1
            else f"No average did better on development texts than {kept[0]} alone ({len(trials)} candidates)."
        )
    point = {"scale": scale, **parameters}
    best = enumerated([f"{label(name)} {setting(point[name])}" for name in columns(trials)])
    return f"Of {len(trials)} candidates measured on development texts, {best} did best{_gained(plan, trials)}."


def _gained(plan: Plan, trials: Sequence[AnyTrial]) -> str:
    """Against the settings that tuning started from; a list of scales starts nowhere."""
    measured = [trial.objective for trial in trials if trial.objective is not None]
    if not plan.space or trials[0].objective is None:
        return ""
    gain = 1 - math.exp(min(measured) - trials[0].objective)
    words = change(gain)
    return ", no better than the settings it started from" if words == "unchanged" else f", {words} than at the start"


def _kept(parameters: Mapping[str, float]) -> list[str]:
    return sorted(name.removeprefix(_WEIGHT) for name, value in parameters.items() if value)
