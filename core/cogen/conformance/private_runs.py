"""No run of 8 words (12 Chinese characters) of private text in any file that ships, where that text is at hand."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cogen.conformance.at_home import comparison, private_texts
from cogen.conformance.package_files import files_of
from cogen.conformance.result import Check, Failed, attempt
from cogen.conformance.shipped_texts import strings
from cogen.conformance.wording import decoded, wording
from cogen.errors import CogenError
from cogen.text.decode import decode
from cogen.text.grams import runs
from cogen.text.scripts import words
from cogen.text.undecodable import Undecodable

NAME = "private runs"
#: A file that ships: its name, and how it is opened.
Shipped = tuple[str, Callable[[], IO[bytes]]]
#: Most bytes of a header of safetensors that are read.
_HEADER = 100_000_000


@dataclass(frozen=True)
class _Piece:
    """A text of a file. ``line``: its number, in a file of samples or of a suite; ``number``: in others, 0 is the whole
    file."""

    file: str
    text: str
    number: int = 0
    line: int | None = None


def package_files(root: Path) -> Iterator[Shipped]:
    """Of a package's folder."""
    return files_at((name, root / name) for name in files_of(root))


def files_at(places: Iterable[tuple[str, Path]]) -> Iterator[Shipped]:
    """Of (name, file)."""
    return ((name, partial(_opened, path)) for name, path in places)


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def archive_files(archive: zipfile.ZipFile) -> Iterator[Shipped]:
    """Of a wheel, what describes it included: the long description is a README."""
    return ((member.filename, partial(archive.open, member)) for member in archive.infolist() if not member.is_dir())


def check_private_runs(files: Iterable[Shipped], home: Path) -> Iterator[Check]:
    """Nothing where the recipe has no private text.

    A line of samples or suites is a text that may ship, as ``leaves`` says: a run of it may stand elsewhere by chance.
    It is refused where most of its runs are of private text, whatever source it names.

    :param home: folder of the recipe.
    """
    found: set[str] = set()
    count = 0
    try:
        same = comparison(home)
        shipped = [(piece, frozenset(runs(words(same(piece.text))))) for piece in _pieces(files)]
        candidates = frozenset[str]().union(*(own for _, own in shipped))
        for text in private_texts(home):
            found.update(run for run in runs(words(same(text))) if run in candidates)
            count += 1
    except (CogenError, Undecodable, OSError, ValueError) as error:
        why = error.message if isinstance(error, CogenError) else str(error)
        yield Check(NAME, None, f"not checked, the private text cannot be read: {why}")
        return
    if count:
        yield from attempt(NAME, lambda: _verdict(shipped, found))


def _verdict(shipped: list[tuple[_Piece, frozenset[str]]], found: set[str]) -> str:
    """:raises Failed: names the file. What is found is not repeated: the message may be sent to somebody."""
    for piece, own in shipped:
        count = len(own & found)
        if piece.line is not None and 2 * count > len(own):
            raise Failed(
                f"line {piece.line} of {piece.file} is private text: {count} of its {len(own)} runs of 8 words "
                "(or 12 characters) stand in it",
                "take the line out, or the text out of the source that stays at home if it may be published",
            )
        if piece.line is None and count:
            raise Failed(
                f"{piece.file} holds {count} runs of 8 words (or 12 characters) of private text"
                + (f", the first in its text number {piece.number}" if piece.number else ""),
                "take it out of the file: names, comments, descriptions and docstrings are published, too",
            )
    return f"no run of private text in {len({piece.file for piece, _ in shipped})} files"


def _pieces(files: Iterable[Shipped]) -> Iterator[_Piece]:
    for name, opened in files:
        yield _Piece(name, name)
        suffix = PurePosixPath(name).suffix
        if suffix == ".safetensors":
            yield from (_Piece(name, text, 1) for text in _header(opened))
        elif suffix == ".jsonl":
            yield from _lines(name, _all_of(opened))
        else:
            yield from _settings(name, opened)


def _lines(name: str, content: bytes) -> Iterator[_Piece]:
    for number, line in enumerate(re.split(r"\r\n|\n|\r", content.decode("utf-8", "replace")), 1):
        try:
            found = list(strings(json.loads(line)))
        except (ValueError, RecursionError):
            found = [line]
        yield from (_Piece(name, text, 0, number) for text in found)


def _settings(name: str, opened: Callable[[], IO[bytes]]) -> Iterator[_Piece]:
    """Of code, settings, templates and notes: the whole, in the encoding that it has, and each text in it."""
    text = decoded(name, partial(_all_of, opened))
    if text is not None:
        for number, piece in enumerate([text, *wording(name, text)]):
            yield _Piece(name, piece, number)
    if PurePosixPath(name).suffix not in (".gguf", ".pyc", ".model"):
        try:
            other = decode(_all_of(opened)).text
        except Undecodable:
            return
        if other != text:
            yield _Piece(name, other)


def _header(opened: Callable[[], IO[bytes]]) -> Iterator[str]:
    """What a trainer wrote into the header of weights; names of tensors with it."""
    with opened() as file:
        size = int.from_bytes(file.read(8), "little")
        content = file.read(min(size, _HEADER))
    try:
        stated: Any = json.loads(content)
    except ValueError:
        return
    if isinstance(stated, dict):
        yield " ".join(stated)
        yield from strings(stated.get("__metadata__"))


def _all_of(opened: Callable[[], IO[bytes]]) -> bytes:
    with opened() as file:
        return file.read()
