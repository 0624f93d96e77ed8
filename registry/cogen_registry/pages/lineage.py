"""Drawing of where an expert comes from and what it went into. Numbers and words in; the template draws and escapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cogen_registry.experts.models import Card, Detail, Use
from cogen_registry.pages.formats import count
from cogen_registry.pages.links import Links

WIDTH = 880
_BOX, _TALL, _STEP, _TOP = 232.0, 46.0, 60.0, 34.0
_COLUMNS = (4.0, 324.0, 644.0)
#: Others of the same base, and composites, that are drawn; the list says how many more there are.
SIBLINGS, USES = 5, 5
_LETTERS = 24


@dataclass(frozen=True)
class Node:
    """``kind``: base, this, expert, composite or more. ``href``: ``None`` where there is no page."""

    kind: str
    x: float
    y: float
    label: str
    note: str
    title: str
    href: str | None


@dataclass(frozen=True)
class Graph:
    width: float
    height: float
    box: tuple[float, float]
    heads: tuple[tuple[float, str], ...]
    nodes: tuple[Node, ...]
    edges: tuple[str, ...]


def graph(detail: Detail, siblings: Sequence[Card], others: int, links: Links) -> Graph:
    """Three columns: base, experts of that base (this one first), composites of this one.

    :param siblings: other experts of the same base, at most :data:`SIBLINGS`.
    :param others: how many there are of them in all.
    """
    experts = [_expert(detail, links, "this")] + [_expert(one, links, "expert") for one in siblings]
    if others > len(siblings):
        href = links.page("experts", base=detail.base.digest)
        experts.append(("more", f"and {others - len(siblings):,} more", "of the same base", "", href))
    uses = [_use(one, links) for one in detail.composites[:USES]]
    if len(detail.composites) > USES:
        uses.append(("more", f"and {len(detail.composites) - USES} more", "composites", "", None))
    rows = max(len(experts), len(uses))
    scratch = detail.relation == "scratch"
    name = detail.base.name or detail.base.digest
    base = ("base", _cut(name), "trained from scratch" if scratch else "base", f"{name}\n{detail.base.digest}", None)
    nodes: list[Node] = []
    if not scratch:
        nodes.append(_node(base, 0, (len(experts) - 1) / 2))
    nodes += [_node(one, 1, row) for row, one in enumerate(experts)]
    nodes += [_node(one, 2, row) for row, one in enumerate(uses)]
    this = next(node for node in nodes if node.kind == "this")
    edges = [] if scratch else [_edge(nodes[0], node) for node in nodes if node.x == _COLUMNS[1]]
    edges += [_edge(this, node) for node in nodes if node.x == _COLUMNS[2]]
    heads = [(_COLUMNS[1], "experts of this base" if len(experts) > 1 else "this expert")]
    if not scratch:
        heads.insert(0, (_COLUMNS[0], "base"))
    if uses:
        heads.append((_COLUMNS[2], "composites that use it"))
    height = math.ceil(_TOP + rows * _STEP)
    return Graph(WIDTH, height, (_BOX, _TALL), tuple(heads), tuple(nodes), tuple(edges))


_Fields = tuple[str, str, str, str, str | None]


def _expert(card: Card, links: Links, kind: str) -> _Fields:
    note = f"{card.id} {card.version} · {count(card.parameters)}"
    href = None if kind == "this" else links.page("experts", card.id)
    return kind, _cut(card.title), _cut(note, 34), f"{card.title}\n{card.id} {card.version}, {card.publisher}", href


def _use(use: Use, links: Links) -> _Fields:
    exact = "this version" if use.exact else "another version"
    note, title = _cut(f"{use.publisher} · {exact}", 34), f"{use.title}\n{use.publisher}/{use.name}, from {exact}"
    return "composite", _cut(use.title), note, title, links.page("composites", use.publisher, use.name)


def _node(fields: _Fields, column: int, row: float) -> Node:
    kind, label, note, title, href = fields
    return Node(kind, _COLUMNS[column], round(_TOP + row * _STEP, 1), label, note, title or label, href)


def _edge(one: Node, other: Node) -> str:
    """A curve from the right side of one box to the left side of the other."""
    x, y, to, at = one.x + _BOX, one.y + _TALL / 2, other.x, other.y + _TALL / 2
    half = (x + to) / 2
    return f"M{x:g},{y:g} C{half:g},{y:g} {half:g},{at:g} {to:g},{at:g}"


def _cut(text: str, letters: int = _LETTERS) -> str:
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"
