"""What a publisher still has to decide: fields that say TODO, which is what `cogen new` writes where it cannot know."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

#: Fields that people name before the marker: "License: todo". Of other words it may be Spanish.
_FIELD = (
    "licen[cs]e|evidence|sources?|contact|title|summary|publisher|homepage|author|owner|name|email|url|date|collected|"
    "domains?|languages?|bias(?:es)?|limitations?|description|version|notes?"
)
_AFTER = "later|soon|write|fill|add|ask|decide|describe|check|replace|complete|please|until|before"
_CHINESE = "待办|待定|待填|待填写|待补充"
#: ``TODO`` (``TODOs``, ``TODO1``) as a word of its own; in other cases only where the text begins with it, before a
#: mark or an English word, for "todo" is Spanish for "all". ``To-Do`` and ``TO DO`` count as the whole text or before a
#: colon, ``TBD``, which is also short for tick-borne disease, and 待办 as the whole text or after one.
_MARKER = re.compile(
    r"(?<![A-Za-z0-9])TODOs?\d*(?![A-Za-z0-9])"
    r"|^\W*(?i:todo)\d*\s*(?:[:(!.?)\]\u2013\u2014]|-(?!\w)|$)"
    rf"|^\W*(?i:todo)\s+(?i:{_AFTER})\b"
    rf"|^\W*(?i:{_FIELD})\s*:\s*(?i:todo)\W*$"
    r"|^\W*(?:(?i:to-do)|TO DO)\s*(?:[:!.)]|$)"
    rf"|(?:^\W*|:\s*)(?:TBD|tbd|{_CHINESE})\W*$"
    rf"|^\W*(?:{_CHINESE})\s*:"
)
#: Fields of a recipe that never leave the publisher's machine: a pattern may well look for the word TODO.
_STAYS = frozenset({"plugin", "members", "exclude", "drop", "field"})


def is_unfinished(text: str) -> bool:
    """Does the text hold the marker? In full-width letters, or with invisible ones between them, it is the same."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return _MARKER.search(plain) is not None


def unfinished(model: BaseModel) -> list[str]:
    """Fields of a manifest or of a training recipe that ship and hold the marker, in their order.

    :returns: names as they are written in the file: ``card.summary``, ``data.sources[0].license_evidence``.
    """
    return list(_fields(model.model_dump(mode="json", exclude_none=True), ""))


def _fields(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, str):
        if is_unfinished(value):
            yield name
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _STAYS:
                yield from _fields(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _fields(item, f"{name}[{index}]")
