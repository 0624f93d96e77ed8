"""``__pycache__``: is what lies there what compiling the verified source gives?

Python runs a ``.pyc`` in the place of its source and looks at the source's time and size alone, so whoever alters it
alters what runs. A file is compared with a fresh compilation of the source; both are read as data, by the small reader
below: Python's own is not made for bytes that somebody else wrote, and the same code has several forms on the disk.
"""

from __future__ import annotations

import importlib.util
import marshal
import struct
import sys
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

_HEADER, _LARGEST = 16, 16 << 20
_DELETE = "delete the folder __pycache__"


def check_compiled(root: Path, tops: Collection[str], sources: Collection[str]) -> Iterator[str]:
    """One line for every compiled file of these packages that is not its source's.

    :param root: site-packages. :param sources: paths of files below it whose bytes were verified.
    """
    for top in sorted(tops):
        for path in sorted((root / top).rglob("__pycache__/*")):
            name = path.relative_to(root).as_posix()
            if problem := _problem(path, name, root, sources):
                yield f"{name}: {problem}; {_DELETE}"


def is_compiled(name: str) -> bool:
    """Does a path look like a file that Python's compiler writes?"""
    path = PurePosixPath(name)
    return path.suffix == ".pyc" and path.parent.name == "__pycache__"


def _problem(path: Path, name: str, root: Path, sources: Collection[str]) -> str | None:
    stem, _, tag = PurePosixPath(name).name.removesuffix(".pyc").partition(".")
    source = str(PurePosixPath(name).parent.parent / f"{stem}.py")
    if path.is_symlink() or not path.is_file() or not is_compiled(name):
        return "added"
    if source not in sources:
        return "compiled from no file of the wheel"
    cache, _, level = tag.partition(".opt-")
    if cache != sys.implementation.cache_tag or level not in ("", "1", "2"):
        return f"compiled by another Python ({tag[:40]}), which cannot be compared"
    if path.stat().st_size > _LARGEST:
        return "altered: larger than any compiled file"
    content, text = path.read_bytes(), (root / source).read_bytes()
    if content[:4] != importlib.util.MAGIC_NUMBER:
        return "compiled by another Python, which cannot be compared"
    flags = int.from_bytes(content[4:8], "little")
    if flags & 0b01 and not flags & 0b10:
        return "altered: Python would never compare it with its source"
    if flags not in (0, 0b11) or (flags and content[8:16] != importlib.util.source_hash(text)):
        return "altered: it is of another source"
    try:
        fresh = marshal.dumps(compile(text, "x", "exec", dont_inherit=True, optimize=int(level or 0)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "altered: its source cannot be compiled"
    try:
        same = _read(content[_HEADER:]) == _read(fresh)
    except _Unreadable:
        same = False
    return None if same else "altered: not what its source compiles to"


class _Unreadable(Exception):
    """Not the bytes of code."""


def _read(content: bytes) -> Any:
    return _Reader(content).whole()


class _Reader:
    """Values that ``marshal`` wrote, as plain tuples: (kind, …); names of files are left out of code.

    The layout of code is that of Python 3.11 to 3.14. What is shared and what is written twice reads alike.
    """

    _CODE_NUMBERS, _CODE_PARTS, _FILE_NAME = (
        5,
        ("code", "consts", "names", "locals", "kinds", "file", "name", "qualname"),
        "file",
    )

    def __init__(self, content: bytes) -> None:
        self._content, self._at, self._depth = content, 0, 0
        self._known: list[Any] = []
        self._budget = 200_000

    def whole(self) -> Any:
        try:
            value = self._value()
        except (struct.error, IndexError, RecursionError, UnicodeDecodeError) as error:
            raise _Unreadable from error
        if self._at != len(self._content):
            raise _Unreadable
        return value

    def _take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self._content):
            raise _Unreadable
        self._at += count
        return self._content[self._at - count : self._at]

    def _long(self) -> int:
        return int(struct.unpack("<i", self._take(4))[0])

    def _value(self) -> Any:
        self._budget -= 1
        self._depth += 1
        if self._budget < 0 or self._depth > 200:
            raise _Unreadable
        mark = self._take(1)[0]
        kind, shared = chr(mark & 0x7F), bool(mark & 0x80)
        if kind == "r":
            place = self._long()
            if not 0 <= place < len(self._known) or self._known[place] is None:
                raise _Unreadable
            self._depth -= 1
            return self._known[place]
        place = len(self._known)
        if shared:
            self._known.append(None)
        value = self._plain(kind)
        if shared:
            self._known[place] = value
        self._depth -= 1
        return value

    def _plain(self, kind: str) -> Any:
        if kind in "NFT.S":
            return (kind,)
        if kind == "i":
            return ("int", self._long())
        if kind == "l":
            return ("long", (count := self._long()), self._take(2 * abs(count)))
        if kind in "gy":
            return (kind, self._take(8 if kind == "g" else 16))
        if kind == "s":
            return ("bytes", self._take(self._long()))
        if kind in "utaAzZ":
            size = self._take(1)[0] if kind in "zZ" else self._long()
            return ("str", self._take(size).decode("utf-8" if kind in "ut" else "ascii", "surrogatepass"))
        if kind in "()[<>":
            count = self._take(1)[0] if kind == ")" else self._long()
            if count < 0:
                raise _Unreadable
            items = [self._value() for _ in range(count)]
            name = {"(": "tuple", ")": "tuple", "[": "list"}.get(kind, "set")
            # a set has no order of its own: the seed of the hash decides how it is written
            return (name, tuple(sorted(items, key=repr) if name == "set" else items))
        if kind == ":":
            return ("slice", self._value(), self._value(), self._value())
        if kind == "c":
            return self._code()
        raise _Unreadable

    def _code(self) -> Any:
        numbers = tuple(self._long() for _ in range(self._CODE_NUMBERS))
        parts = {name: self._value() for name in self._CODE_PARTS}
        parts.pop(self._FILE_NAME)
        line = self._long()
        return ("code", numbers, tuple(parts.values()), line, self._value(), self._value())
