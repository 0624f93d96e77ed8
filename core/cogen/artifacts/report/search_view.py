"""The search in the report: its table of candidates, and a drawing of them.

As in :mod:`cogen.artifacts.report.charts`, numbers go in and coordinates come out; no markup is made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.artifacts.report.charts import WIDTH, Tick, nice_ticks
from cogen.fusion.merge import choice

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock, LockedTrial
    from cogen.fusion.merge.measure import Trial
    from cogen.fusion.plan import Plan

_SCALE = "how far the weights move away from the base"


@dataclass(frozen=True)
class Search:
    """What the template needs; one of ``curve`` and ``course`` at most."""

    what: str
    heads: tuple[str, ...]
    suites: tuple[str, ...]
    rows: tuple[choice.Candidate, ...]
    curve: Curve | None = None
    course: Course | None = None
    #: Below the curve.
    axis: str = ""


def search(lock: Lock, plan: Plan, trials: Sequence[Trial | LockedTrial]) -> Search | None:
    """A curve where one number was tuned, else the course of the search; ``None`` where nothing was searched for."""
    if not trials:
        return None
    rows = tuple(choice.candidates(trials, lock.scale, lock.parameters))
    names = choice.columns(trials)
    heads = tuple(choice.label(name) for name in names)
    what = f"Only the {heads[0]} was tuned." if len(names) == 1 else f"{len(names)} settings were tuned together."
    if choice.selects(plan):
        what = "Each expert was measured alone, then added, from the best to the worst, if that made nothing worse."
    elif names == ["scale"]:
        what = f"The scale says {_SCALE} towards the experts."
    shown = what, heads, tuple(choice.suites(trials)), rows
    chosen = next((i for i, row in enumerate(rows) if row.chosen), None)
    if chosen is None or len(rows) < 2:
        return Search(*shown)
    if len(names) > 1:
        return Search(*shown, course=course([row.mean for row in rows], chosen))
    places = [{"scale": trial.scale, **trial.parameters}[names[0]] for trial in trials]
    points = [(place, row.mean) for place, row in zip(places, rows, strict=True) if row.mean is not None]
    axis = f"scale: {_SCALE}" if names == ["scale"] else heads[0]
    return Search(*shown, curve=curve(points, places[chosen]), axis=axis)


@dataclass(frozen=True)
class CurvePoint:
    x: float
    y: float
    scale: str
    value: str
    chosen: bool
    #: There is room for its texts.
    labelled: bool


@dataclass(frozen=True)
class Curve:
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    points: tuple[CurvePoint, ...]
    ticks: tuple[Tick, ...]

    @property
    def line(self) -> str:
        """For ``<polyline points=…>``."""
        return " ".join(f"{p.x},{p.y}" for p in self.points)


def curve(trials: Sequence[tuple[float, float]], chosen: float) -> Curve:
    """(scale or another parameter, mean bits per byte) of every trial, in the order of the first."""
    left, right, top, bottom = 70.0, WIDTH - 40.0, 34.0, 200.0
    pairs = sorted(trials)
    scales, values = [s for s, _ in pairs], [v for _, v in pairs]
    ticks, low, high, decimals = _axis(values)

    def x(scale: float) -> float:
        width = (scales[-1] - scales[0]) or 1.0
        return round(left + 30 + (scale - scales[0]) / width * (right - left - 60), 2)

    def y(value: float) -> float:
        return round(bottom - (value - low) / (high - low) * (bottom - top), 2)

    # Labels are 60 units wide: the chosen point has one, and of the others, from left to right, those that don't touch.
    taken = [x(chosen)]
    for place in map(x, scales):
        if all(abs(place - other) >= 60 for other in taken):
            taken.append(place)
    points = tuple(CurvePoint(x(s), y(v), f"{s:g}", f"{v:.4f}", s == chosen, x(s) in taken) for s, v in pairs)
    marks = tuple(Tick(y(value), f"{value:.{decimals}f}") for value in ticks)
    return Curve(WIDTH, 250, left, right, top, bottom, points, marks)


@dataclass(frozen=True)
class Step:
    """One candidate. ``kind``: composite (the chosen one), specialist (another), beyond (off the axis), failed."""

    kind: str
    x: float
    y: float
    number: int
    value: str


@dataclass(frozen=True)
class Course:
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    steps: tuple[Step, ...]
    ticks: tuple[Tick, ...]
    numbers: tuple[Tick, ...]
    #: The best so far, as a staircase: for ``<polyline points=…>``.
    line: str


def course(values: Sequence[float | None], chosen: int) -> Course:
    """Mean bits per byte of the candidates in their order, and the best so far; ``None`` failed.

    One bad candidate must not flatten all others: the axis ends four times as far above the best as the median is.

    :param chosen: index of the chosen candidate, which is not a failed one.
    """
    left, right, top, bottom = 70.0, WIDTH - 40.0, 34.0, 230.0
    known = sorted(value for value in values if value is not None)
    best, median = known[0], known[len(known) // 2]
    roof = max(best + 4 * (median - best), known[0] * (1 + 1e-4))
    ticks, low, high, decimals = _axis([value for value in known if value <= roof])

    def x(index: int) -> float:
        return round(left + 30 + index / max(1, len(values) - 1) * (right - left - 60), 2)

    def y(value: float) -> float:
        return round(bottom - (min(value, high) - low) / (high - low) * (bottom - top), 2)

    steps: list[Step] = []
    corners: list[str] = []
    least = math.inf
    for i, value in enumerate(values):
        if value is None:
            steps.append(Step("failed", x(i), top, i + 1, ""))
        else:
            kind = "composite" if i == chosen else "beyond" if value > high else "specialist"
            steps.append(Step(kind, x(i), y(value), i + 1, f"{value:.4f}"))
            if value < least:
                corners += [f"{x(i)},{y(least)}"] if corners else []
                corners.append(f"{x(i)},{y(value)}")
                least = value
    corners.append(f"{x(len(values) - 1)},{y(least)}")
    whole = [n for n in nice_ticks(1, len(values), 8) if n == int(n) and 1 <= n <= len(values)]
    numbers = tuple(Tick(x(int(n) - 1), f"{n:g}") for n in sorted({1, *whole}))
    marks = tuple(Tick(y(value), f"{value:.{decimals}f}") for value in ticks)
    return Course(WIDTH, 280, left, right, top, bottom, tuple(steps), marks, numbers, " ".join(corners))


def _axis(values: Sequence[float]) -> tuple[list[float], float, float, int]:
    """Ticks, their ends, and the decimals that tell them apart.

    A tenth of air above and below, and never a range so narrow that rounding errors look like hills.
    """
    spread = max(max(values) - min(values), 1e-4 * max(values))
    ticks = nice_ticks(min(values) - spread / 10, max(values) + spread / 10, 5)
    return ticks, ticks[0], ticks[-1], max(2, -math.floor(math.log10(ticks[1] - ticks[0])))
