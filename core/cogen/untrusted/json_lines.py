"""One reader of JSON Lines that others wrote: samples, suites, training texts.

Lines end as the format says (https://jsonlines.org): with a line feed, or a carriage return before it. Other readers
also cut at U+2028, U+0085 or a form feed, which a JSON string may hold as it is, and then see two halves of a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogen.errors import CogenError, SpecError
from cogen.untrusted.json_text import parse_object

#: Bytes of a file, unless a caller has a limit of its own.
LIMIT = 64 << 20
_END = re.compile(r"\r\n|\n|\r")
_HINT = 'one JSON object a line, such as {"text": "…"}'


def read_bytes(path: Path, name: str, *, limit: int = LIMIT, error: type[CogenError] = SpecError) -> bytes:
    """The bytes of a file of texts.

    :raises CogenError: it cannot be read, or is larger than the limit; of the class ``error``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as problem:
        raise error(f"{name} cannot be read: {problem.strerror}", hint="check that the texts are there") from problem
    if len(content) > limit:
        raise error(f"{name} is larger than {limit:,} bytes", hint="ship fewer documents")
    return content


def json_lines(
    content: bytes, name: str, *, error: type[CogenError] = SpecError, hint: str = _HINT
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of each line that is not blank; a byte order mark at the start is passed over.

    :param name: of the file, and whose it is, for errors.
    :raises CogenError: of the class ``error``: not UTF-8, or a line that is not a JSON object (see
        :func:`~cogen.untrusted.json_text.parse_json`), named by its number; no text of it is shown.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        at = len(_END.split(content[: problem.start].decode("utf-8", "replace")))
        raise error(f"{name} line {at} is not UTF-8", hint="save it as UTF-8") from None
    for number, line in enumerate(_END.split(text), 1):
        if line.strip():
            try:
                yield number, parse_object(line, limit=max(len(line), 1))
            except ValueError as problem:
                raise error(f"{name} line {number}: {problem}", hint=hint) from None


def text_lines(content: bytes, name: str, *, error: type[CogenError] = SpecError, hint: str = _HINT) -> list[str]:
    """The field ``text`` of each line.

    :raises CogenError: as :func:`json_lines`; a line without text, or no line at all.
    """
    texts = []
    for number, entry in json_lines(content, name, error=error, hint=hint):
        text = entry.get("text")
        if not isinstance(text, str) or not text.strip():
            raise error(f"{name} line {number} has no text in the field 'text'", hint=hint)
        texts.append(text)
    if not texts:
        raise error(f"{name} holds no text", hint=hint)
    return texts
