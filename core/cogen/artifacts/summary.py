"""The few figures and sentences that sum a matrix up; the same ones in the report, the card and the command line.

All gains are of the text itself, in logarithms of bits per byte: going from 1.00 to 0.80 is the same gain as from 0.50
to 0.40. "The specialist" of a suite is the expert that owns it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.evals.bound import GENERAL
from cogen.phrases import change as change
from cogen.phrases import percent as percent

if TYPE_CHECKING:
    from cogen.evals import Comparison, Matrix, SuiteResult

BASE, COMPOSITE, CONTROL = "base", "composite", "control"
BITS_PER_BYTE = "bits_per_byte"


@dataclass(frozen=True)
class Domain:
    """One suite of an expert: bits per byte of base, specialist and composite.

    ``kept`` is :func:`gain_kept`. ``verdict`` is of the composite against the base: better, worse, or same (no clear
    difference).
    """

    owner: str
    column: str
    base: float
    specialist: float
    composite: float
    kept: float | None
    verdict: str

    @property
    def specialist_gain(self) -> float:
        """Share of the base's bits that the specialist saves."""
        return 1 - self.specialist / self.base

    @property
    def composite_gain(self) -> float:
        """Share of the base's bits that the composite saves."""
        return 1 - self.composite / self.base


def gain_kept(base: float, composite: float, specialist: float) -> float | None:
    """``(log base - log composite) / (log base - log specialist)``, all in bits per byte.

    1: the composite reads the domain as well as its specialist. 0: no better than the base. Below 0: worse than the
    base. ``None``: the specialist gains nothing, so there is nothing to keep.
    """
    if not 0 < specialist < base or composite <= 0:
        return None
    return math.log(base / composite) / math.log(base / specialist)


def domains(matrix: Matrix, gains: dict[str, dict[str, Comparison]] | None = None) -> tuple[Domain, ...]:
    """Every bits-per-byte suite that base, its own specialist and the composite were all measured on.

    :param gains: ``matrix.gains()``, where it is known already.
    """
    found = []
    for column in matrix.columns:
        owner = column.partition("/")[0]
        base, own, composite = (matrix.get(row, column) for row in (BASE, owner, COMPOSITE))
        if owner == GENERAL or matrix.metric(column) != BITS_PER_BYTE or not (base and own and composite):
            continue
        if min(base.value, own.value, composite.value) <= 0:  # no text is free of surprise, and zero has no logarithm
            continue
        gains = matrix.gains() if gains is None else gains
        kept = gain_kept(base.value, composite.value, own.value)
        verdict = gains[COMPOSITE][column].verdict
        found.append(Domain(owner, column, base.value, own.value, composite.value, kept, verdict))
    return tuple(found)


def kept_on_average(found: Iterable[Domain]) -> float | None:
    """The composite's mean log gain over the specialists' mean log gain; ``None`` where the latter is not positive.

    Not the mean of the single shares: one specialist with hardly any gain would swamp it.
    """
    found = tuple(found)
    specialists = math.fsum(math.log(d.base / d.specialist) for d in found)
    composite = math.fsum(math.log(d.base / d.composite) for d in found)
    return composite / specialists if specialists > 0 else None


def verdict(matrix: Matrix | None, gains: dict[str, dict[str, Comparison]] | None = None) -> str:
    """One sentence: how many domains the composite reads better than the base, and how much of the gain it keeps.

    "Better" and "worse" mean that the 95 % interval of the paired difference excludes zero.
    """
    if matrix is None:
        return "The composite was not evaluated."
    found = domains(matrix, gains)
    if not found:
        return "No domain was measured on base, specialist and composite, so nothing can be said about the composite."
    return f"The composite reads {_how_many(found)}; {_how_much(found)}."


def forgetting(matrix: Matrix | None, gains: dict[str, dict[str, Comparison]] | None = None) -> str | None:
    """One sentence on general text, from the built-in suite; ``None`` where it was not measured."""
    found = general_change(matrix, gains)
    if found is None:
        return None
    if found.verdict == "same":
        return f"On general text it shows no clear difference from the base ({change(found.gain)})."
    return f"On general text it is {change(found.gain)} than the base."


def answering(matrix: Matrix | None) -> str | None:
    """One sentence on the built-in chat suite, composite and base; ``None`` where it was not measured.

    Bits per byte do not show that a model stopped ending its answers.
    """
    from cogen.evals.chat import COLUMN, in_words

    found = None if matrix is None else matrix.get(COMPOSITE, COLUMN)
    if matrix is None or found is None:
        return None
    base = matrix.get(BASE, COLUMN)
    against = f" The base: {in_words(base)}." if base is not None else ""
    return f"Asked {found.n} plain questions: {in_words(found)}.{against} Whether they are right is not measured."


def kinds_in_words(result: SuiteResult) -> str:
    """Accuracy by kind: "name 71 % (60 to 81, n 62), number 80 % (…); intervals over 74 documents"."""
    parts = []
    for kind, found in result.by_kind.items():
        bounds = "" if found.low is None or found.high is None else f"{100 * found.low:.0f} to {100 * found.high:.0f}, "
        parts.append(f"{kind} {percent(found.value, 0)} ({bounds}n {found.n})")
    drawn = f"; intervals over {len(set(result.clusters))} documents" if result.clusters else ""
    return ", ".join(parts) + drawn


def kinds(matrix: Matrix | None) -> list[tuple[str, str, str]]:
    """(column, row, :func:`kinds_in_words`) of base, the suite's own expert and the composite."""
    if matrix is None:
        return []
    return [
        (column, row, kinds_in_words(result))
        for column in matrix.columns
        for row in dict.fromkeys((BASE, column.partition("/")[0], COMPOSITE))
        if (result := matrix.get(row, column)) is not None and result.kinds
    ]


def general_change(matrix: Matrix | None, gains: dict[str, dict[str, Comparison]] | None = None) -> Comparison | None:
    """The composite against the base on the first built-in bits-per-byte suite."""
    if matrix is None or BASE not in matrix.rows:
        return None
    for column in matrix.columns:
        if column.startswith(f"{GENERAL}/") and matrix.metric(column) == BITS_PER_BYTE:
            gains = matrix.gains() if gains is None else gains
            return gains.get(COMPOSITE, {}).get(column)
    return None


def against_control(matrix: Matrix | None) -> str | None:
    """What the teachers added, in plain words; ``None`` where no control was measured.

    The control learned from the same texts in the same steps, with the plain loss of a language model. Better and worse
    mean that the 95 % interval of the paired difference excludes zero.
    """
    if matrix is None or CONTROL not in matrix.rows or COMPOSITE not in matrix.rows:
        return None
    found = matrix.gains(CONTROL)[COMPOSITE]
    counts = {name: sum(one.verdict == name for one in found.values()) for name in ("better", "worse", "same")}
    listed = ", ".join(f"{column.partition('/')[0]} {change(one.gain)}" for column, one in found.items())
    rest = "" if not counts["worse"] else f" and worse on {counts['worse']}"
    if counts["better"]:
        head = f"Against its control the composite is better on {counts['better']} of {len(found)} texts{rest}"
    elif counts["worse"]:
        head = f"The composite does not beat its control: it is worse on {counts['worse']} of {len(found)} texts"
    else:
        head = "The composite does not beat its control: there is no clear difference on any text"
    return f"{head} ({listed}). The control learned from the same texts in as many steps, without teachers."


def _how_many(found: tuple[Domain, ...]) -> str:
    unit = "domain" if len({d.owner for d in found}) == len(found) else "suite"
    counts = {name: sum(d.verdict == name for d in found) for name in ("better", "worse", "same")}
    if len(found) == 1:
        return {
            "better": f"its {unit} better than the base",
            "worse": f"its {unit} worse than the base",
            "same": f"its {unit} with no clear difference from the base",
        }[found[0].verdict]
    if counts["better"] == len(found):
        return f"all {len(found)} {unit}s better than the base"
    rest = [f"{counts['worse']} worse"] if counts["worse"] else []
    rest += [f"{counts['same']} with no clear difference"] if counts["same"] else []
    some = f"{counts['better']} of {len(found)}" if counts["better"] else f"none of the {len(found)}"
    return f"{some} {unit}s better than the base ({', '.join(rest)})"


def _how_much(found: tuple[Domain, ...]) -> str:
    whose, average = ("specialist's", "") if len(found) == 1 else ("specialists'", " on average")
    kept = kept_on_average(found)
    if kept is None:
        return (
            "the specialists themselves gain nothing on the base" if average else "its specialist gains nothing either"
        )
    share = percent(kept, 0) if round(kept * 100) > 0 else "none"
    return f"it keeps {share} of the {whose} gain{average}"
