"""The report's tables as plain values: what stands in each cell, in words and in colour. No markup is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.artifacts import summary
from cogen.artifacts.report import charts
from cogen.evals.bound import GENERAL

if TYPE_CHECKING:
    from cogen.evals import Comparison, Matrix, SuiteResult
    from cogen.fusion.plan import Plan
    from cogen.fusion.strategy import Description

Gains = dict[str, dict[str, "Comparison"]]
_UNITS = {
    "bits_per_byte": "bits per byte",
    "acc": "right answers",
    "exact_match": "exact answers",
    "well_formed": "well-formed answers",
}
#: A change of this size is already coloured fully where no larger one stands in the matrix.
_FULL_COLOUR = 0.1


@dataclass(frozen=True)
class Cell:
    """One cell of the heat map. ``tone``: base, better, worse, or same (no clear difference); ``strength`` 0 to 1."""

    value: str
    change: str
    interval: str
    n: str
    tone: str
    strength: float
    own: bool
    hint: str


@dataclass(frozen=True)
class MatrixRow:
    kind: str
    title: str
    note: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Head:
    title: str
    note: str
    unit: str
    lower: bool


@dataclass(frozen=True)
class Kept:
    title: str
    note: str
    label: str
    #: Filled part of the bar, 0 to 100.
    width: float
    tone: str


@dataclass(frozen=True)
class Labels:
    """What rows, owners and suites are called.

    :param titles: of rows and of owners of suites; ``notes``: what stands below the title of a row of no specialist.
    :param suites: column → title.
    """

    titles: dict[str, str]
    notes: dict[str, str]
    suites: dict[str, str]


def labels(plan: Plan, words: Description) -> Labels:
    """Of a plan; the strategy's own words win."""
    named = {expert.id: expert.title for expert in plan.experts}
    usual = {summary.BASE: "Base", summary.COMPOSITE: "Composite", GENERAL: "General text", **named}
    notes = {"base": plan.base.name, "composite": f"all {len(plan.experts)} experts in one"}
    suites = {f"{suite.owner}/{suite.id}": suite.title for suite in plan.suites}
    suites |= {"general/chat": "General text: plain questions answered"}
    return Labels(usual | dict(words.titles), notes | dict(words.notes), suites)


def heads(matrix: Matrix, names: Labels) -> list[Head]:
    """One a column: whose suite, which suite, and which way is better."""
    named, suites = names.titles, names.suites
    found = []
    for column in matrix.columns:
        owner, _, suite = column.partition("/")
        metric = matrix.metric(column)
        title = named.get(owner, owner)
        # "Power grid: held-out text" below "Power grid" says it twice.
        note = suites.get(column, suite).removeprefix(title).lstrip(" :,–—-") or suite
        found.append(Head(title, note, _UNITS.get(metric, metric), metric == "bits_per_byte"))
    return found


def rows(matrix: Matrix, names: Labels, gains: Gains) -> list[MatrixRow]:
    """The heat map, in the order of the matrix."""
    named, columns = names.titles, heads(matrix, names)
    # Shares of answers move by far more than bits per byte: their cells would leave the others without colour.
    changes = [abs(c.gain) for found in gains.values() for c in found.values() if c.metric != "well_formed"]
    largest = max([_FULL_COLOUR, *changes])
    drawn = []
    for row in matrix.rows:
        kind = row if row in (summary.BASE, summary.COMPOSITE) else "expert"
        cells = tuple(
            None
            if (result := matrix.get(row, column)) is None
            else _cell(result, gains.get(row, {}).get(column), largest, f"{named.get(row, row)} on {head.title}", row)
            for column, head in zip(matrix.columns, columns, strict=True)
        )
        note = names.notes.get(row, "specialist")
        drawn.append(MatrixRow(kind, named.get(row, row), note, cells))
    return drawn


def _cell(result: SuiteResult, against: Comparison | None, largest: float, what: str, row: str) -> Cell:
    value, interval, n = figure(result.metric, result.value), "no interval", f"n = {result.n}"
    if result.low is not None and result.high is not None:
        interval = f"{figure(result.metric, result.low)} to {figure(result.metric, result.high)}"
    unit = _UNITS.get(result.metric, result.metric)
    hint = f"{what}: {value} {unit}. 95 % interval: {interval}. Documents: {result.n}."
    if against is None:
        return Cell(value, "", interval, n, "base", 0.0, False, hint)
    change = gain_text(against)
    strength = round(0.08 + 0.6 * min(1.0, abs(against.gain) / largest), 3)
    tone = "better" if against.gain >= 0 else "worse"
    clear = "" if against.verdict != "same" else " The interval includes no change at all."
    hint += f" Against the base: {change}{_bounds_text(against)}.{clear}"
    if against.verdict == "same":
        change = f"≈ {change}"
    return Cell(value, change, interval, n, tone, strength, result.owner == row, hint)


def figure(metric: str, value: float) -> str:
    """A value as the report prints it: bits per byte with three decimals, shares in percent."""
    return f"{value:.3f}" if metric == "bits_per_byte" else summary.percent(value)


def gain_text(against: Comparison) -> str:
    """Change against the base in words: "12.3 % better", "2.0 points worse"."""
    text: str = summary.change(against.gain)
    return text if against.ratio is not None else text.replace(" %", " points")


def bounds(against: Comparison) -> tuple[float, float] | None:
    """95 % interval of :attr:`Comparison.gain`, worst first."""
    if against.ratio_low is not None and against.ratio_high is not None:
        return 1 - against.ratio_high, 1 - against.ratio_low
    if against.ratio is None and against.low is not None and against.high is not None:
        return against.low, against.high
    return None


def _bounds_text(against: Comparison) -> str:
    found = bounds(against)
    return "" if found is None else f" (interval {found[0] * 100:+.1f} to {found[1] * 100:+.1f})"


def whisker_charts(matrix: Matrix, names: Labels, gains: Gains) -> list[tuple[str, charts.Whiskers]]:
    """One chart for bits per byte and one for answers: each suite's specialist beside the composite."""
    named, columns = names.titles, dict(zip(matrix.columns, heads(matrix, names), strict=True))
    found = []
    for title, metrics, unit in (
        ("Share of the base's bits that is saved", ("bits_per_byte",), " %"),
        ("Answers, in percentage points above the base", ("acc", "exact_match", "well_formed"), ""),
    ):
        groups = []
        for column in matrix.columns:
            if matrix.metric(column) not in metrics:
                continue
            owner = column.partition("/")[0]
            points = []
            for kind, row in (("specialist", owner), ("composite", summary.COMPOSITE)):
                against = gains.get(row, {}).get(column)
                if against is not None:
                    low, high = bounds(against) or (None, None)
                    hint = f"{named.get(row, row)}: {gain_text(against)}{_bounds_text(against)}, {against.n} documents"
                    points.append(charts.Point(kind, against.gain, low, high, gain_text(against), hint))
            if points:
                head = columns[column]
                groups.append((charts.clip(head.title, 27), charts.clip(head.note, 33), points))
        if groups:
            found.append((title, charts.whiskers(groups, unit)))
    return found


def kept_bars(found: Sequence[summary.Domain], names: Labels) -> list[Kept]:
    """How much of each specialist's gain the composite keeps."""
    named = names.titles
    drawn = []
    for domain in found:
        both = f"specialist {summary.change(domain.specialist_gain)}, composite {summary.change(domain.composite_gain)}"
        if domain.kept is None:
            drawn.append(Kept(named.get(domain.owner, domain.owner), both, "no gain to keep", 0.0, "same"))
            continue
        tone = "better" if domain.kept > 0 else "worse"
        width = round(100 * min(1.0, max(0.0, domain.kept)), 1)
        drawn.append(Kept(named.get(domain.owner, domain.owner), both, summary.percent(domain.kept, 0), width, tone))
    return drawn
