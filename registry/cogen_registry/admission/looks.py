"""What names that look alike have in common."""

from __future__ import annotations

from packaging.utils import canonicalize_name

#: Of distributions. Only plugins live here, so that a registry never shadows a package of PyPI.
PREFIX = "cogen-plugin-"
#: Longer ones first; no right side stands on the left, so the order of the single characters doesn't matter.
ALIKE = (
    ("-", ""),
    ("rn", "m"),
    ("vv", "w"),
    ("0", "o"),
    ("1", "l"),
    ("i", "l"),
    ("5", "s"),
    ("2", "z"),
    ("8", "b"),
    ("9", "g"),
    ("6", "b"),
    ("v", "u"),
)


def look(name: str) -> str:
    """What names that look alike have in common: 0 and o, 1 and i and l, rn and m, vv and w, and no dashes."""
    found = canonicalize_name(name).removeprefix(PREFIX)
    for one, other in ALIKE:
        found = found.replace(one, other)
    return found
