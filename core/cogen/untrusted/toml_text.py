"""What a TOML file may ask of its reader, found out before the reader reads it.

The standard library's reader needs time and memory by the square of the parts of a dotted key, and recurses into
arrays: 5 KB of one key took 37.7 s and 4.1 GB. This walks over the text once, knows strings and comments as TOML does,
and counts. Where the text is not TOML it stops: the reader stops there, too.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

#: Of a manifest: the largest that anybody wrote has 40 KB.
MANIFEST_BYTES = 256 * 1024
_PARTS, _DEPTH, _BARE = 16, 32, 200
_MARK = re.compile(r"[\"'#\n=,\[\]{}.]")
_IN_STRING = re.compile(r'["\\]')
_IN_LINE = re.compile(r'["\\\n]')


def read_toml(path: Path, *, what: str | None = None, limit: int = MANIFEST_BYTES) -> dict[str, Any]:
    """The document in a TOML file, which may begin with a byte order mark.

    :param what: what to call it in an error; by default its path.
    :raises OSError: it cannot be read.
    :raises ValueError: it is too large, not UTF-8, not TOML, or see :func:`check_toml` and :func:`check_numbers`; the
        message says which, in one line.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{what or path} is larger than {limit // 1024:,} KiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{what or path} is not UTF-8 text") from None
    return parse_toml(text, what or str(path))


def parse_toml(text: str, what: str = "it") -> dict[str, Any]:
    """As :func:`read_toml`, of a text."""
    try:
        check_toml(text)
        value = tomllib.loads(text)
        check_numbers(value)
    except RecursionError:
        raise ValueError(f"{what} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid TOML: {' '.join(str(error).split())[:200]}") from None
    return value


def check_toml(text: str) -> None:
    """:raises ValueError: a key of too many parts, arrays in arrays in arrays, or a number that is too long."""
    at, parts, depth = 0, 0, 0
    while (match := _MARK.search(text, at)) is not None:
        mark, start = match[0], match.start()
        if start - at > _BARE and len(text[at:start].strip()) > _BARE:
            raise ValueError(f"a key or a number of more than {_BARE} characters")
        at = match.end()
        if mark == "#":
            at = text.find("\n", at)
        elif mark in "\"'":
            at = _behind_string(text, start)
        elif mark == ".":
            parts += 1
            if parts >= _PARTS:
                raise ValueError(f"a key of more than {_PARTS} parts")
        else:
            parts = 0
            depth += (mark in "[{") - (mark in "]}")
            if depth > _DEPTH:
                raise ValueError(f"arrays or tables in each other, more than {_DEPTH} deep")
        if at < 0:
            return
    if len(text[at:].strip()) > _BARE:
        raise ValueError(f"a key or a number of more than {_BARE} characters")


def _behind_string(text: str, start: int) -> int:
    """Position behind the string that begins at ``start``; -1: it does not end, so that no reader goes on."""
    quote = text[start]
    if text.startswith(quote * 3, start):
        at = start + 3
        while (found := _end(text, at, quote, quote == '"')) >= 0:
            if text.startswith(quote * 3, found):
                at = found + 3
                while at < found + 5 and text.startswith(quote, at):  # up to two more belong to it
                    at += 1
                return at
            at = found + 1
        return -1
    if quote == "'":
        end = text.find("'", start + 1)
        return -1 if end < 0 or "\n" in text[start:end] else end + 1
    at = start + 1
    while (match := _IN_LINE.search(text, at)) is not None:
        if match[0] == "\\":
            at = match.end() + 1
        else:
            return match.end() if match[0] == '"' else -1
    return -1


def _end(text: str, at: int, quote: str, escapes: bool) -> int:
    """The next quote that no backslash takes away."""
    if not escapes:
        return text.find(quote, at)
    while (match := _IN_STRING.search(text, at)) is not None:
        if match[0] == '"':
            return match.start()
        at = match.end() + 1
    return -1


def check_numbers(value: object) -> None:
    """:raises ValueError: an integer that no database and no other language holds."""
    if isinstance(value, dict):
        for one in value.values():
            check_numbers(one)
    elif isinstance(value, list):
        for one in value:
            check_numbers(one)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an integer beyond 64 bits")
