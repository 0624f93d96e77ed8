"""A composite's page: its lock in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cogen.markdown import word
from cogen_registry.experts import composites, models
from cogen_registry.pages.formats import SHARES, figure
from cogen_registry.pages.site import Site
from cogen_registry.service import Service

_NAMES = {"base": "Base", "composite": "Composite", "control": "Control", "general": "General text"}


@dataclass(frozen=True)
class Cell:
    """``tone``: base, better, worse or same; ``strength`` 1 to 3: a class of the style sheet."""

    value: str
    change: str
    interval: str
    n: int
    tone: str
    strength: int


@dataclass(frozen=True)
class ExpertRow:
    """One expert. ``publisher`` and ``key`` are what the lock says; ``checked``: a release here says the same."""

    id: str
    title: str
    version: str
    distribution: str
    publisher: str
    key: str | None
    registry: str | None
    license: str
    derivatives: str
    weight: float | None
    digest: str
    here: bool
    checked: bool


def composite(
    service: Service, site: Site, publisher: str, name: str, version: int | None = None
) -> tuple[str, dict[str, Any]]:
    """:raises Refused: 404"""
    found = composites.one(service, publisher, name, version)
    matrix = found.lock.get("matrix")
    return "composite.html.j2", {
        "composite": found,
        "tags": {f"composite:{publisher}/{name}", "publishers", *(f"expert:{part.id}" for part in found.experts)},
        "lock": found.lock,
        "plan": found.lock["plan"],
        "parts": parts(found.lock, {part.id: part for part in found.experts}),
        "matrix": matrix,
        "rows": [] if matrix is None else rows(matrix, found.lock["plan"]),
        "columns": [] if matrix is None else columns(matrix, found.lock["plan"]),
        "newest": max(found.versions),
        # A lock is somebody else's text, and this is for people to paste: nothing in it may end the word.
        "added": "".join(
            f"cogen add {word(one['distribution'])}=={word(one['version'])}\n" for one in found.lock["plan"]["experts"]
        ),
    }


def lock_file(lock: dict[str, Any]) -> bytes:
    """As `cogen fuse` writes it."""
    return (json.dumps(lock, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parts(lock: dict[str, Any], known: dict[str, models.CompositeExpert]) -> list[ExpertRow]:
    """The experts in the plan's order, with what the lock says of where they came from, and whether that is so here."""
    sources = lock.get("sources") or {}
    found = []
    for one in lock["plan"]["experts"]:
        source = sources.get(one["id"]) or {}
        found.append(
            ExpertRow(
                id=one["id"],
                title=one["title"],
                version=one["version"],
                distribution=one["distribution"],
                publisher=source.get("publisher") or one["publisher"],
                key=source.get("key"),
                registry=source.get("registry"),
                license=one["license"],
                derivatives=one["derivatives"],
                weight=one.get("weight"),
                digest=one["weights_digest"],
                here=known[one["id"]].here,
                checked=known[one["id"]].checked,
            )
        )
    return found


def columns(matrix: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """(whose text, which suite) of each column."""
    named = _titles(plan)
    found = []
    for column in matrix["columns"]:
        owner, _, suite = column.partition("/")
        found.append((named.get(owner, owner), suite))
    return found


def rows(matrix: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str, list[Cell | None]]]:
    """(kind, title, cells). A cell is coloured where its interval leaves out the base's value."""
    named, cells = _titles(plan), matrix["cells"]
    found = []
    for row in matrix["rows"]:
        mine, base = cells.get(row, {}), cells.get("base", {})
        line = [_cell(mine.get(column), base.get(column), row == "base") for column in matrix["columns"]]
        found.append((row if row in _NAMES else "expert", named.get(row, row), line))
    return found


def _cell(cell: dict[str, Any] | None, base: dict[str, Any] | None, is_base: bool) -> Cell | None:
    if cell is None:
        return None
    metric, value, low, high = cell["metric"], cell["value"], cell["low"], cell["high"]
    interval = "" if low is None or high is None else f"{figure(low, metric)} – {figure(high, metric)}"
    change, tone, strength = "", "base", 1
    if base is not None and not is_base:
        gap = value - base["value"] if metric in SHARES else (base["value"] - value) / (base["value"] or 1.0)
        change = f"{gap * 100:+.1f} {'points' if metric in SHARES else '%'}"
        sure = low is not None and high is not None and not low <= base["value"] <= high
        tone = ("better" if gap > 0 else "worse") if sure else "same"
        strength = 1 + (abs(gap) > 0.03) + (abs(gap) > 0.1)
    return Cell(figure(value, metric), change, interval, cell["n"], tone, strength)


def _titles(plan: dict[str, Any]) -> dict[str, str]:
    return _NAMES | {one["id"]: one["title"] for one in plan["experts"]}
