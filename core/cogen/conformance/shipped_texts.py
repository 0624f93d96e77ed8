"""The texts that an expert's package holds, one by one: which file, of which source, under which license."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cogen.host import Expert
from cogen.spec.expert import ExpertSpec
from cogen.untrusted.json_lines import json_lines, read_bytes

#: What a text is shipped as: the source's `leaves` has to go as far as that.
Use = Literal["samples", "heldout"]
#: Fields of a line that say where its text is from, and are not text themselves.
_ABOUT = frozenset({"source", "license", "licence"})


@dataclass(frozen=True)
class ShippedText:
    """One line of a JSON Lines file. ``where`` names the file and the line's number; ``text`` is all text of it."""

    where: str
    use: Use
    source: str | None
    license: str | None
    text: str


def text_files(spec: ExpertSpec) -> Iterator[tuple[str, Use]]:
    """(path inside the package, use) of every file of text that the manifest names."""
    if spec.samples is not None and spec.samples.path is not None:
        yield spec.samples.path, "samples"
    for suite in spec.suites:
        yield from ((data.path, "heldout") for data in (suite.dev, suite.test))


def shipped_texts(expert: Expert) -> Iterator[ShippedText]:
    """Every text of the samples and suites.

    :raises SpecError: a file that the manifest names cannot be read, or a line is not a JSON object.
    """
    for path, use in dict.fromkeys(text_files(expert.spec)):
        for number, row in json_lines(read_bytes(expert.root / path, path), path):
            yield ShippedText(f"document {number} of {path}", use, *about(row))


def about(row: Any) -> tuple[str | None, str | None, str]:
    """(source, license, all text) of a line."""
    if not isinstance(row, dict):
        return None, None, " ".join(strings(row))
    source, license = row.get("source"), row.get("license", row.get("licence"))
    text = " ".join(text for name, value in row.items() if name not in _ABOUT for text in strings(value))
    return _word(source), _word(license), text


def strings(value: Any) -> Iterator[str]:
    """Every string of a JSON value, in its order; of an object the values alone."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
