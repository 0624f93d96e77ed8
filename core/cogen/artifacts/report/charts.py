"""Geometry of the report's drawings. Numbers in, coordinates out; the template draws and escapes.

All coordinates are in units of the SVG's view box. Nothing here makes markup, so nothing here can be injected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 860


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A dot with its whisker. ``low`` and ``high`` are coordinates, ``None`` where no interval is known."""

    kind: str
    y: float
    x: float
    low: float | None
    high: float | None
    text: str
    hint: str


@dataclass(frozen=True)
class BarGroup:
    label: str
    note: str
    y: float
    top: float
    height: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Whiskers:
    width: float
    height: float
    left: float
    right: float
    bottom: float
    zero: float
    ticks: tuple[Tick, ...]
    groups: tuple[BarGroup, ...]


@dataclass(frozen=True)
class Point:
    """One model on one suite: gain and interval as shares (0.1 = ten percent better); ``hint`` is the tooltip."""

    kind: str
    gain: float
    low: float | None
    high: float | None
    text: str
    hint: str


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten apart) that cover ``low`` to ``high``."""
    span = max(high - low, 1e-9)
    rough = span / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def whiskers(groups: Sequence[tuple[str, str, Sequence[Point]]], unit: str = " %") -> Whiskers:
    """A dot-and-whisker chart: one group a suite with (label, note, points), better to the right."""
    left, right, row, gap, top = 222.0, WIDTH - 126.0, 24.0, 18.0, 10.0
    ends = [end for _, _, points in groups for p in points for end in (p.gain, p.low, p.high) if end is not None]
    values = nice_ticks(min(0.0, *ends) * 100, max(0.0, *ends) * 100, 8) if any(ends) else [0.0, 1.0]
    low, high = values[0], values[-1]

    def x(share: float) -> float:
        return round(left + (share * 100 - low) / (high - low) * (right - left), 2)

    drawn, y = [], top
    for label, note, points in groups:
        height = row * len(points) + gap
        marks = tuple(
            Mark(
                p.kind,
                y + gap / 2 + row * (i + 0.5),
                x(p.gain),
                None if p.low is None else x(p.low),
                None if p.high is None else x(p.high),
                p.text,
                p.hint,
            )
            for i, p in enumerate(points)
        )
        drawn.append(BarGroup(label, note, y + height / 2, y, height, marks))
        y += height
    ticks = tuple(Tick(x(value / 100), f"{value:g}{unit}".replace("-", "−")) for value in values)
    return Whiskers(WIDTH, y + 30, left, right, y, x(0.0), ticks, tuple(drawn))


@dataclass(frozen=True)
class Node:
    x: float
    y: float
    width: float
    height: float
    title: str
    lines: tuple[str, ...]
    kind: str
    #: All of the title: the tooltip.
    full: str


@dataclass(frozen=True)
class Lineage:
    width: float
    height: float
    nodes: tuple[Node, ...]
    #: SVG path data, made of numbers alone.
    paths: tuple[str, ...]


def lineage(
    base: tuple[str, Sequence[str]],
    experts: Sequence[tuple[str, Sequence[str]]],
    composite: tuple[str, Sequence[str]],
) -> Lineage:
    """Base, experts and composite from left to right; each is (title, lines below it)."""
    step, box = 66.0, 54.0
    height = max(1, len(experts)) * step + 8
    middle = (height - 70) / 2
    start = Node(2, middle, 220, 70, clip(base[0], 23), tuple(clip(t, 28) for t in base[1]), "base", base[0])
    end = Node(
        WIDTH - 202,
        middle,
        200,
        70,
        clip(composite[0], 20),
        tuple(clip(t, 25) for t in composite[1]),
        "composite",
        " · ".join((composite[0], *composite[1])),
    )
    nodes, paths = [], []
    for i, (title, lines) in enumerate(experts):
        short = tuple(clip(line, 34) for line in lines)
        node = Node(308, 4 + i * step + (step - box) / 2, 262, box, clip(title, 27), short, "expert", title)
        nodes.append(node)
        y = node.y + box / 2
        paths.append(_bend(start.x + start.width, middle + 35, node.x, y))
        paths.append(_bend(node.x + node.width, y, end.x, middle + 35))
    return Lineage(WIDTH, height, (start, *nodes, end), tuple(paths))


def clip(text: str, length: int) -> str:
    """At most ``length`` characters; SVG text doesn't wrap."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _bend(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    return f"M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}"
