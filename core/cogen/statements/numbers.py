"""Numbers and units of a sentence, and others that make it false."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Set

import regex

from cogen.statements.slots import Line, Slot, order
from cogen.statements.tokens import Token
from cogen.statements.units import group_of, unit_after
from cogen.statements.words import BEST

#: A replacement differs by this factor at least: nobody argues about 95 and 97.
APART = 1.2
_FORM = regex.compile(r"(\p{Nd}+)(?:\.(\p{Nd}+))?")
#: What numbers count that are names, not quantities: of a figure, a section, an account, a day of a month.
_NAMES = frozenset(
    """figure fig figs table tables section sections chapter equation eq eqs step example version python page pages vol
    volume no number appendix footnote ref reference issue tutorial case line lines row column schedule account accounts
    tier phase part item act bill order rule article paragraph bus node trafo grade class type level stage group option
    january february march april may june july august september october november december from
    图 表 第 章 节 式 版 条 款 项""".split()  # noqa: SIM905
)
#: Before a number: a bound. What is good within 24 hours is good within 18 or within 48 as often as not.
_BELOW = regex.compile(
    r"(?:[<≤]|\b(?:within|before|under|below|than|most|first|to|exceed)|不超过|小于|低于|以内)[^\p{L}\p{N}]{0,2}$"
)
_ABOVE = regex.compile(
    r"(?:[>≥]|\b(?:least|over|above|greater than|more than|exceeds)|至少|大于|超过|高于)[^\p{L}\p{N}]{0,2}$"
)
_CONDITION = regex.compile(r"\b(?:if|when|whenever|unless|until|whether|suppose|e\.g\.|say)\b|如果|若|当|假设", regex.I)
_RANGE = regex.compile(r"\s*(?:[-–—~～至到]|to|and|or|,)\s*(?:[<>≤≥]\s*)?$")
_RANGE_ON = regex.compile(r"\s*%?\s*(?:[-–—~～至到]|to|and|or|,)\s*(?:[<>≤≥]\s*)?(\p{Nd}+(?:\.\p{Nd}+)?)")
_NUMBER_BEFORE = regex.compile(r"(\p{Nd}+(?:\.\p{Nd}+)?)\s*%?$")


def value(text: str) -> float:
    """The number that the digits of any script write; a comma groups thousands."""
    return float(text.replace(",", ""))


def form(text: str) -> tuple[int, int, int] | None:
    """Digits before and after the point, and zeros at the end; None where it is no plain decimal."""
    match = _FORM.fullmatch(text)
    if match is None or (len(text) > 1 and text[0] == "0" and match[2] is None):
        return None
    zeros = 0 if match[2] else len(match[1]) - len(match[1].rstrip("0"))
    return len(match[1]), len(match[2] or ""), zeros


def number_slots(line: Line) -> Iterator[Slot]:
    """Slots of the kind ``number``."""
    for at, token in enumerate(line.tokens):
        if token.kind == "number" and is_quantity(line, at) and not _conditional(line, token):
            others = _other_numbers(line, at)
            if others:
                yield Slot("number", token.start, token.end, tuple(others))


def unit_slots(line: Line) -> Iterator[Slot]:
    """Slots of the kind ``unit``: of the same dimension, used in the field, and another quantity with this number."""
    text = line.sentence.text
    for at, token in enumerate(line.tokens):
        span = unit_after(text, token.end) if token.kind == "number" and form(token.text) else None
        if span is None or not is_quantity(line, at) or _conditional(line, token):
            continue
        unit = text[slice(*span)]
        factors = group_of(unit)
        others = [
            other
            for other, factor in factors.items()
            if factor != factors[unit]
            and line.field.units[other] >= 2
            and not _equal_inside(line, value(token.text) * factor, factors)
        ]
        # The next smaller and the next larger unit: others would be absurd rather than false.
        others.sort(key=lambda other: (abs(math.log(factors[other] / factors[unit])), other))
        if others:
            yield Slot("unit", *span, tuple(sorted(others[:2], key=lambda other: order(text, other))))


def _conditional(line: Line, token: Token) -> bool:
    """Within a possibility, a denial, a condition or a bound another number may do as well: "if negative at 48 hours",
    "within two weeks".
    """
    before = line.sentence.text[: token.start]
    return line.hedged(token) or any(pattern.search(before) for pattern in (_CONDITION, _ABOVE, _BELOW))


def _equal_inside(line: Line, quantity: float, factors: dict[str, float]) -> bool:
    """Does the document state the same quantity in one of the units, so that the false sentence would be true?"""
    return any(
        unit in line.quantities and any(abs(n * factor - quantity) <= 0.02 * quantity for n in line.quantities[unit])
        for unit, factor in factors.items()
    )


def is_quantity(line: Line, at: int) -> bool:
    """A number that says how much: not of a list, a figure, a version, a year or a date."""
    token, text = line.tokens[at], line.sentence.text
    if form(token.text) is None or at == 0:
        return False
    before, after = text[: token.start], text[token.end :]
    if regex.search(r"[\p{L}\p{N}_./:^#]-?$|\p{L}[-–]$|[(\[]$", before) and not regex.search(
        r"\p{Script=Han}$", before
    ):
        return False
    if regex.match(r"[/:^_]|-?\p{Script=Latin}+\d|[)\]]|(?:st|nd|rd|th|D|d)\b|-\p{L}{0,2}\b(?!\p{L})", after):
        return False
    unit = unit_after(text, token.end) is not None or after.lstrip().startswith("%")
    if not unit and line.tokens[at - 1].kind == "word" and not line.field.is_common(line.tokens[at - 1].text):
        return False  # "Generator 6": what is said of one is said of each
    if line.key(at - 1) in _NAMES or (line.key(at - 1) == "." and line.key(at - 2) in _NAMES):
        return False
    if not after.rstrip(".。)）") or regex.match(r"\.\s", after):
        return False  # the mark of the next item of a list
    number = value(token.text)
    year = 1900 <= number <= 2100 and len(token.text) == 4
    return number not in (0, 1) and not (year and unit_after(text, token.end) is None)


def _other_numbers(line: Line, at: int) -> list[str]:
    token, field = line.tokens[at], line.field
    own = form(token.text)
    text = line.sentence.text
    span = unit_after(text, token.end)
    fits: Set[str]
    if span is not None:
        fits = field.quantities.get(text[slice(*span)], Counter()).keys()
    else:
        fits = line.fits(at)
    number = value(token.text)
    low, high = _bounds(text, token)
    found = [
        other
        for other in fits
        if form(other) == own
        and value(other) not in line.values
        and value(other) not in (0, 1)
        and max(value(other), number) >= APART * min(value(other), number)
        and low < value(other) < high
        and not (len(other) == 4 and 1900 <= value(other) <= 2100)
    ]
    found.sort(key=lambda other: (order(text, other), other))
    return found[:BEST]


def _bounds(text: str, token: Token) -> tuple[float, float]:
    """What a replacement has to stay between: a range stays one."""
    low, high = -1.0, float("inf")
    if (joint := _RANGE.search(text[: token.start])) and (first := _NUMBER_BEFORE.search(text[: joint.start()])):
        low = max(low, APART * value(first[1]))
    if second := _RANGE_ON.match(text, token.end):
        high = min(high, value(second[1]) / APART)
    return low, high
