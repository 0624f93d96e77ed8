"""A mixture in the report: its size, who works where, and what each expert contributes. Plain values, no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.artifacts import summary
from cogen.artifacts.report import charts
from cogen.artifacts.report.charts import WIDTH
from cogen.evals.matrix import EMPTY

if TYPE_CHECKING:
    from cogen.fusion.moe.insight import Insight, Usage


@dataclass(frozen=True)
class Patch:
    """A cell of a heat map; ``strength`` 0 to 1."""

    x: float
    y: float
    strength: float
    hint: str


@dataclass(frozen=True)
class UsageMap:
    """Of one text: columns are layers, rows are experts; ``size`` is that of a cell (width, height)."""

    title: str
    note: str
    width: float
    height: float
    size: tuple[float, float]
    names: tuple[charts.Tick, ...]
    shares: tuple[charts.Tick, ...]
    patches: tuple[Patch, ...]
    ticks: tuple[charts.Tick, ...]


@dataclass(frozen=True)
class LossView:
    """What a text loses without one expert: the change of bits per byte against the whole mixture, in words."""

    value: str
    tone: str
    strength: float
    hint: str


@dataclass(frozen=True)
class View:
    facts: tuple[tuple[str, str], ...]
    maps: tuple[UsageMap, ...]
    heads: tuple[str, ...]
    losses: tuple[tuple[str, tuple[LossView, ...]], ...]


def mixture(facts: tuple[tuple[str, str], ...], named: dict[str, str], insight: Insight | None) -> View | None:
    """``None`` where the strategy has no facts about its result.

    :param named: titles of experts and owners of suites.
    """
    if not facts:
        return None
    if insight is None:
        return View(facts, (), (), ())
    maps = tuple(_map(used, insight.slots, named) for used in insight.usage)
    heads, losses = _losses(insight, named)
    return View(facts, maps, heads, losses)


def _map(used: Usage, slots: Sequence[str], named: dict[str, str]) -> UsageMap:
    left, right, row, top = 190.0, WIDTH - 60.0, 20.0, 6.0
    layers = len(used.weight)
    cell = (right - left) / layers
    patches, names, shares = [], [], []
    for slot, id in enumerate(slots):
        y = top + slot * row
        mean = sum(layer[slot] for layer in used.weight) / layers
        names.append(charts.Tick(y + row / 2 + 4, charts.clip(named.get(id, id), 25)))
        shares.append(charts.Tick(y + row / 2 + 4, summary.percent(mean, 0)))
        for layer in range(layers):
            share, often = used.weight[layer][slot], used.chosen[layer][slot]
            hint = f"{named.get(id, id)}, layer {layer}: {summary.percent(share)} of the result, chosen for {summary.percent(often, 0)} of the tokens"  # noqa: E501
            patches.append(Patch(round(left + layer * cell, 2), y, round(share, 3), hint))
    bottom = top + len(slots) * row
    step = max(1, layers // 6)
    ticks = tuple(charts.Tick(left + (i + 0.5) * cell, str(i)) for i in range(0, layers, step))
    owner, _, suite = used.column.partition("/")
    title = named.get(owner, owner)
    return UsageMap(
        title,
        f"{suite}, {used.tokens:,} tokens",
        WIDTH,
        bottom + 22,
        (round(cell - 1, 2), row - 1.5),
        tuple(names),
        tuple(shares),
        tuple(patches),
        ticks,
    )


def _losses(
    insight: Insight, named: dict[str, str]
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[LossView, ...]], ...]]:
    matrix = insight.contributions
    if matrix is None:
        return (), ()
    gains = matrix.gains(summary.COMPOSITE)
    largest = max([0.1, *(abs(c.gain) for found in gains.values() for c in found.values())])
    rows = []
    for row, found in gains.items():
        id = row.removeprefix("without ")
        cells = []
        for column in matrix.columns:
            if (against := found.get(column)) is None:
                cells.append(LossView(EMPTY, "base", 0.0, f"{column} without {named.get(id, id)}: not measured"))
                continue
            output = summary.change(against.gain)
            tone = "better" if against.gain >= 0 else "worse"
            sure = "" if against.verdict != "same" else "≈ "
            hint = f"{column} without {named.get(id, id)}: {output} than with it, {against.n} documents"
            cells.append(LossView(sure + output, tone, round(0.08 + 0.6 * abs(against.gain) / largest, 3), hint))
        rows.append((f"without {named.get(id, id)}", tuple(cells)))
    heads = tuple(named.get(column.partition("/")[0], column) for column in matrix.columns)
    return heads, tuple(rows)
