"""Numbers of parameters as people write and read them; the same forms as the registry's filter takes."""

from __future__ import annotations

import re

from cogen.errors import UsageError

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_NUMBER = r"(\d+(?:\.\d+)?)\s*([kmbt]?)"


def size_range(text: str) -> tuple[float, float]:
    """(least, most), both included, of ``<200M``, ``>=1B``, ``1B-7B`` or ``135M`` (give or take a tenth).

    :raises UsageError: it is none of these.
    """
    plain = text.strip().lower()
    if match := re.fullmatch(rf"(<=?|>=?)\s*{_NUMBER}", plain):
        value = float(match[2]) * _UNITS[match[3]]
        ends = {"<": (0.0, value - 1), "<=": (0.0, value), ">": (value + 1, float("inf")), ">=": (value, float("inf"))}
        return ends[match[1]]
    if match := re.fullmatch(rf"{_NUMBER}\s*(?:-|–|\.\.)\s*{_NUMBER}", plain):
        least, most = float(match[1]) * _UNITS[match[2] or match[4]], float(match[3]) * _UNITS[match[4]]
        if least <= most:
            return least, most
    elif match := re.fullmatch(_NUMBER, plain):
        value = float(match[1]) * _UNITS[match[2]]
        return value * 0.9, value * 1.1
    raise UsageError(f"{text!r} is not a size", hint="parameters, such as <200M, >=1B, 1B-7B or 135M")


def shown(parameters: float) -> str:
    """``3.0M``"""
    for unit, worth in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= worth * 0.9995:
            return f"{parameters / worth:.1f}{unit}"
    return str(int(parameters))
