"""What was claimed beside what was measured: never mixed, always with who said it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cogen_registry.experts.models import Claimed, Evaluations, Measured
from cogen_registry.pages.formats import SHARES

WIDTH, HEIGHT, _EDGE = 180.0, 26.0, 8.0


@dataclass(frozen=True)
class Mark:
    """Drawing of one value on the axis of its suite: ``x`` of the dot, of the whisker's ends, of the claim."""

    x: float
    low: float | None
    high: float | None
    claim: float | None


@dataclass(frozen=True)
class Line:
    """One measurement. ``verdict`` compares with the claim; ``tone``: better, worse, same or none."""

    measured: Measured
    difference: str
    verdict: str
    tone: str
    mark: Mark | None


@dataclass(frozen=True)
class SuiteEvidence:
    """One suite."""

    id: str
    title: str
    metric: str
    suite: dict[str, Any]
    claim: Claimed | None
    lines: tuple[Line, ...]

    @property
    def lower(self) -> bool:
        return self.metric not in SHARES


def blocks(spec: dict[str, Any], found: Evaluations) -> list[SuiteEvidence]:
    """One a suite, in the manifest's order; its test split first, then the newest measurement."""
    claims = {claim.suite: claim for claim in found.claims}
    made = []
    for suite in spec["suites"]:
        claim = claims.get(suite["id"])
        mine = sorted((one for one in found.measured if one.suite == suite["id"]), key=lambda one: one.split != "test")
        axis = _axis(claim, mine)
        lines = tuple(_line(one, claim, axis) for one in mine)
        made.append(SuiteEvidence(suite["id"], suite["title"], suite["metric"], suite, claim, lines))
    return made


def _line(one: Measured, claim: Claimed | None, axis: tuple[float, float] | None) -> Line:
    difference, verdict, tone = compare(one, claim)
    mark = None
    if axis is not None:
        low, high = (None if end is None else _place(end, axis) for end in (one.low, one.high))
        claimed = _place(claim.value, axis) if claim is not None and one.split == "test" else None
        mark = Mark(_place(one.value, axis), low, high, claimed)
    return Line(one, difference, verdict, tone, mark)


def compare(one: Measured, claim: Claimed | None) -> tuple[str, str, str]:
    """(difference to the claim, what that means, tone). A claim is of the test split and its own metric."""
    if claim is None:
        return "", "no claim to compare with", "none"
    if one.split != claim.split:
        return "", "another split than the claim", "none"
    share = one.metric in SHARES
    gap = one.value - claim.value
    if share:
        difference = f"{gap * 100:+.1f} points"
    else:
        difference = f"{gap:+.4f} ({gap / claim.value:+.1%})" if claim.value else f"{gap:+.4f}"
    better = gap > 0 if share else gap < 0
    if one.low is None or one.high is None:
        return difference, "no interval was given", "none"
    if one.low <= claim.value <= one.high:
        return difference, "agrees with the claim", "same"
    return difference, "better than claimed" if better else "worse than claimed", "better" if better else "worse"


def _axis(claim: Claimed | None, found: Sequence[Measured]) -> tuple[float, float] | None:
    """(least, most) of all that is drawn; ``None``: there is nothing to compare."""
    values = [v for one in found for v in (one.value, one.low, one.high) if v is not None]
    if claim is not None:
        values.append(claim.value)
    if not found:
        return None
    least, most = min(values), max(values)
    if most - least < 1e-12:
        least, most = least - 0.5, most + 0.5
    return least, most


def _place(value: float, axis: tuple[float, float]) -> float:
    return round(_EDGE + (value - axis[0]) / (axis[1] - axis[0]) * (WIDTH - 2 * _EDGE), 1)
