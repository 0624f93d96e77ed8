"""What a publisher still has to decide: fields that say TODO, which is what `cogen new` writes where it cannot know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

#: Fields of a recipe that never leave the publisher's machine: a pattern may well look for the word TODO.
_STAYS = frozenset({"plugin", "members", "exclude", "drop", "field"})
#: What an entry of a list is called.
_ENTRY = {"sources": "source", "suites": "suite", "private_suites": "private suite"}
#: In capitals anywhere. In other cases ("todo" is a word of Spanish and Portuguese) only alone or before a colon.
_PLACEHOLDER = re.compile(r"\bTODO\b|^\s*(?i:todo)\s*(?::|$)")


def is_placeholder(text: str) -> bool:
    """Whether a text says TODO: "TODO", "TODO: one line", "LicenseRef-TODO", "todo"."""
    return _PLACEHOLDER.search(text) is not None


def unfinished(model: BaseModel) -> list[str]:
    """Fields of a manifest or of a training recipe that ship and say TODO, in their order.

    :returns: names such as ``card.summary`` and ``license of source 'letters'``; empty where nothing is left to decide.
    """
    return list(_walk(model.model_dump(mode="json"), "", ""))


def _walk(value: Any, path: str, entry: str) -> Iterator[str]:
    if isinstance(value, str):
        if is_placeholder(value):
            yield f"{path} of {entry}" if entry else path
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in _STAYS:
                yield from _walk(inner, f"{path}.{key}" if path else str(key), entry)
    elif isinstance(value, list):
        name = path.rpartition(".")[2]
        for number, inner in enumerate(value, 1):
            if isinstance(inner, dict) and name in _ENTRY:
                label = next((inner[key] for key in ("name", "id") if not is_placeholder(inner.get(key, "TODO"))), None)
                yield from _walk(inner, "", f"{_ENTRY[name]} {number if label is None else repr(label)}")
            elif not isinstance(inner, str):
                yield from _walk(inner, f"{path}.{number}", entry)
        if any(isinstance(inner, str) and is_placeholder(inner) for inner in value):
            yield f"{path} of {entry}" if entry else path
