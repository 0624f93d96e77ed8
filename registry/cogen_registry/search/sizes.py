"""Sizes of models as people write them: ``<200M``, ``>=1B``, ``1B-7B``, ``135M``."""

from __future__ import annotations

import re

from cogen_registry.errors import Refused

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_NUMBER = r"(\d+(?:\.\d+)?)\s*([kmbt]?)"
#: "135M" is any number of parameters that a title would call so.
_ABOUT = 0.1
_LONGEST = 40


def size_range(text: str) -> tuple[float, float]:
    """(least, most) number of parameters, both included.

    :raises Refused: 400, it is no size.
    """
    plain = text.strip().lower()
    if len(plain) > _LONGEST:  # the patterns below look at spaces more than once
        raise Refused(400, f"{plain[:20]!r}… is not a size", hint="parameters, such as <200M, >=1B, 1B-7B or 135M")
    if match := re.fullmatch(rf"(<=?|>=?)\s*{_NUMBER}", plain):
        value = _value(match[2], match[3])
        ends = {"<": (0.0, value - 1), "<=": (0.0, value), ">": (value + 1, float("inf")), ">=": (value, float("inf"))}
        return ends[match[1]]
    if match := re.fullmatch(rf"{_NUMBER}\s*(?:-|–|\.\.)\s*{_NUMBER}", plain):
        least, most = _value(match[1], match[2] or match[4]), _value(match[3], match[4])
        if least <= most:
            return least, most
    elif match := re.fullmatch(_NUMBER, plain):
        value = _value(match[1], match[2])
        return value * (1 - _ABOUT), value * (1 + _ABOUT)
    raise Refused(400, f"{text!r} is not a size", hint="parameters, such as <200M, >=1B, 1B-7B or 135M")


def _value(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]
