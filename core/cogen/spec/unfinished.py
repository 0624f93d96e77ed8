"""Which fields of a manifest still hold the template's marker: what is not filled in is never shipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cogen.spec.expert import ExpertSpec

#: ``TODO`` as a word of its own; in other cases only where the text begins with it, for "todo" is Spanish for "all".
_MARKER = re.compile(r"(?<![A-Za-z0-9_])TODO(?![A-Za-z0-9_])|^\s*(?i:todo)\s*(?:[:(-]|$)")


def is_unfinished(text: str) -> bool:
    """Does the text hold the marker?"""
    return _MARKER.search(text) is not None


def unfinished(spec: ExpertSpec) -> list[str]:
    """Fields that hold the marker, as they are written in ``expert.toml``: ``data.sources[0].license_evidence``."""
    return list(_fields(spec.model_dump(mode="json", exclude_none=True), ""))


def _fields(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, str):
        if is_unfinished(value):
            yield name
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _fields(item, f"{name}[{index}]")
