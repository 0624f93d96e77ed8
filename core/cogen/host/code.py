"""Does a Python file do anything at all? Judged by its bytes: the text may be hostile, so nothing parses or runs it."""

from __future__ import annotations

import re

#: One docstring of plain characters, in a form that cannot end early.
_DOCSTRING = re.compile(rb'\s*"""[^"\\]*"""\s*')
#: PEP 263: the encoding decides where a comment ends (UTF-7 has other ways to write a line break).
_ENCODING = re.compile(rb"coding[:=]")


def does_nothing(source: bytes) -> bool:
    """Blank lines, comments, and at most one plain docstring in front: what Python runs is nothing.

    Whatever is not plainly so counts as code: another encoding, control characters, a byte order mark.
    """
    if not source.strip(b" \t\n"):
        return True
    if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", source.replace(b"\r\n", b"\n")) or _ENCODING.search(source):
        return False
    try:
        source.decode("utf-8")
    except UnicodeDecodeError:
        return False
    lines = [line.strip() for line in source.replace(b"\r\n", b"\n").split(b"\n")]
    rest = b"\n".join(line for line in lines if line and not line.startswith(b"#"))
    if not rest:
        return True
    # two marks in all: lines that look like comments hide neither the docstring's beginning nor its end
    return _DOCSTRING.fullmatch(rest) is not None and b"#" not in rest and source.count(b'"""') == 2
