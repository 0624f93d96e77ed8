"""Why bytes could not be read as text."""

from __future__ import annotations

DECLARE = 'declare the source\'s `encoding`, such as "gb18030", or leave the file out with `exclude`'
CONVERT = "convert the file to UTF-8 with a program that knows its encoding, or leave it out with `exclude`"


class Undecodable(Exception):
    """Bytes that are no text in a known encoding. ``offset`` is of the first byte that shows it, from 0."""

    def __init__(self, message: str, offset: int, hint: str = DECLARE) -> None:
        super().__init__(message)
        self.offset, self.hint = offset, hint
