"""What a registry says, field by field: of the type that it has to be, or an error; lines that a terminal may show.

Each reader raises a ``TypeError`` or a ``ValueError``: whoever reads an answer calls that "a form that is not known".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cogen.untrusted.printable import one_line

#: Whole numbers up to here are the same to everybody who reads JSON.
MOST = 1 << 53


def line(value: object, most: int = 300) -> str:
    """One printable line of whatever it is: a terminal must not obey what somebody else wrote."""
    return one_line(value, most)


def text(value: Any, most: int = 300) -> str:
    """A name, a version, a digest: printable, not empty, of ``most`` characters at most."""
    if not isinstance(value, str):
        raise TypeError("it is not text")
    if not value or len(value) > most or not value.isprintable():
        raise ValueError("it is empty, too long, or not printable")
    return value


def whole(value: Any) -> int:
    """A size or a count."""
    if type(value) is not int:
        raise TypeError("it is not a whole number")
    if not 0 <= value < MOST:
        raise ValueError("it is no size")
    return value


def card(value: Any) -> dict[str, Any]:
    """The card of an expert: fields that verbs show and compare are of their types; what isn't is left out."""
    if not isinstance(value, Mapping):
        raise TypeError("it is not a card")
    found = {str(name): inner for name, inner in value.items()}
    found["id"] = text(value.get("id"))
    if (old := found.pop("licence", None)) is not None:  # the spelling of older registries
        found.setdefault("license", old)
    for name in ("version", "project", "title", "summary", "publisher", "license"):
        if name in found:
            found[name] = line(found[name], 2000) if isinstance(found[name], str) else None
    for name in ("domains", "languages"):
        if name in found:
            listed = found[name] if isinstance(found[name], list) else []
            found[name] = [line(one) for one in listed if isinstance(one, str)]
    if (base := found.get("base")) is not None:
        pairs = base.items() if isinstance(base, Mapping) else ()
        found["base"] = {str(name): line(inner) if isinstance(inner, str) else None for name, inner in pairs}
    if (number := found.get("parameters")) is not None:
        good = type(number) in (int, float) and 0 <= number < MOST
        found["parameters"] = number if good else None
    return found
