"""The packing list: every file that is about to leave, and the text in it, before anything does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from cogen.conformance.package_files import files_of, is_model_file
from cogen.conformance.private_text import rules_of
from cogen.conformance.shipped_texts import about
from cogen.conformance.wording import decoded, wording
from cogen.host import Expert
from cogen.spec.expert import ExpertSpec
from cogen.untrusted.json_text import parse_json
from cogen.wheels import Wheel

#: Texts of a source that are shown, and characters of each.
SHOWN, BEGINNING = 3, 60
#: Comments, docstrings and texts of code and settings that are shown of a file; the longest first.
WORDING_SHOWN = 12
#: Files whose bytes are one text.
_PROSE = frozenset({".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".xml", ".html"})
#: What `cogen publish` writes beside weights that it uploads.
_MADE = ("cogen-manifest.json", "model.sig")
#: What writers of safetensors say in its header without being asked.
_USUAL = {"format"}


@dataclass(frozen=True)
class PackedText:
    """The text of one source in one file.

    ``source`` and ``license`` as the file's lines give them (``None``: they do not); ``bytes`` of UTF-8; ``begins``:
    the first words of some.
    """

    source: str | None
    license: str | None
    documents: int
    bytes: int
    begins: tuple[str, ...]


@dataclass(frozen=True)
class PackedFile:
    """One file. ``to``: "wheel", or the repository; ``bytes`` ``None``: written while it is published.

    ``wording``: of code, settings and templates, what the longest of their comments, docstrings and texts begin with,
    and in ``written`` how many there are.
    """

    to: str
    path: str
    bytes: int | None
    texts: tuple[PackedText, ...] = ()
    wording: tuple[str, ...] = ()
    written: int = 0


@dataclass(frozen=True)
class PackedSource:
    """What the data card says of one source, and how much of its text leaves.

    ``leaves`` ``None``: nothing is said. ``expert`` ``None``: a source that texts name and no card lists.
    """

    expert: str | None
    name: str
    license: str
    leaves: str | None
    personal_data: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class PackingList:
    """Every file that leaves, and every source of the data cards. Text that names no source is counted in none."""

    project: str
    version: str
    files: tuple[PackedFile, ...]
    sources: tuple[PackedSource, ...]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes or 0 for file in self.files)

    @property
    def documents(self) -> int:
        """Of all texts."""
        return sum(text.documents for file in self.files for text in file.texts)

    def sentence(self) -> str:
        """In one line, for a question."""
        files = f"{len(self.files):,} file{'' if len(self.files) == 1 else 's'} of {self.bytes:,} bytes leave"
        named = [f"{source.documents:,} of source {source.name}" for source in self.sources if source.documents]
        if not self.documents:
            return f"{files}, without a text"
        more = f" (and {len(named) - 3} more sources)" if len(named) > 3 else ""
        texts = f"{self.documents:,} text{'' if self.documents == 1 else 's'}"
        return f"{files}, with {texts}{': ' if named else ''}{', '.join(named[:3])}{more}"


#: Gives the bytes of a file.
Reader = Callable[[], bytes]


def of_wheel(wheel: Wheel, repositories: Iterable[tuple[str, Iterable[tuple[str, Path]]]] = ()) -> PackingList:
    """Of a built wheel, and of (repository, its files by name) that are uploaded beside it."""
    files = []
    with zipfile.ZipFile(wheel.path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                read = partial(archive.read, member)
                files.append(_file("wheel", member.filename, member.file_size, read))
    return _list(wheel.project, wheel.version, [*files, *_uploads(repositories)], wheel.experts)


def of_repositories(wheel: Wheel, repositories: Iterable[tuple[str, Iterable[tuple[str, Path]]]]) -> PackingList:
    """Of weights that are uploaded without the wheel."""
    return _list(wheel.project, wheel.version, list(_uploads(repositories)), wheel.experts)


def of_installed(expert: Expert) -> PackingList:
    """Of the package of an installed expert: what `cogen publish` would put into its wheel beside the metadata."""
    package, files = expert.root.name, []
    for name in files_of(expert.root):
        path = expert.root / name
        files.append(_file("wheel", f"{package}/{name}", path.stat().st_size, path.read_bytes))
    return _list(expert.distribution, expert.version, files, (expert.spec,))


def _uploads(repositories: Iterable[tuple[str, Iterable[tuple[str, Path]]]]) -> Iterator[PackedFile]:
    for repository, files in repositories:
        for name, path in files:
            yield _file(repository, name, path.stat().st_size, path.read_bytes)
        yield from (PackedFile(repository, name, None) for name in _MADE)


def _list(project: str, version: str, files: list[PackedFile], specs: Iterable[ExpertSpec]) -> PackingList:
    texts = [text for file in files for text in file.texts]

    def source(expert: str | None, name: str, license: str, leaves: str | None, personal: str) -> PackedSource:
        own = [text for text in texts if text.source == name]
        counts = sum(text.documents for text in own), sum(text.bytes for text in own)
        return PackedSource(expert, name, license, leaves, personal, *counts)

    found = [
        source(spec.id, rule.name, rule.license, rule.leaves, rule.personal_data)
        for spec in specs
        for rule in rules_of(spec.data)
    ]
    known = {one.name for one in found}
    others = sorted({text.source for text in texts if text.source is not None and text.source not in known})
    found += [source(None, name, "unknown", None, "unknown") for name in others]
    return PackingList(project, version, tuple(files), tuple(found))


def _file(to: str, name: str, size: int, read: Reader) -> PackedFile:
    """A file with all text that it holds: as documents, or in the wording of code and settings."""
    texts = _texts(name, read)
    text = None if texts else decoded(name, read)
    if text is None:
        return PackedFile(to, name, size, texts)
    pieces = sorted(wording(name, text), key=len, reverse=True)
    return PackedFile(to, name, size, (), tuple(map(_begins, pieces[:WORDING_SHOWN])), len(pieces))


def _texts(name: str, read: Reader) -> tuple[PackedText, ...]:
    """The text of a file, by source; nothing of what is code, weights or a tokenizer."""
    path = PurePosixPath(name)
    if path.suffix == ".safetensors":
        return _header(read())
    if path.suffix == ".jsonl":
        return _lines(read())
    top = path.parts[0]
    metadata = name == f"{top}/METADATA"
    prose = ".dist-info/licenses/" in name or (path.suffix in _PROSE and not is_model_file(path.name))
    if metadata or (prose and name != f"{top}/entry_points.txt"):
        text = read().decode("utf-8", "replace")
        text = text.partition("\n\n")[2] if metadata else text
        return (_one(text),) if text.strip() else ()
    return ()


def _one(text: str) -> PackedText:
    return PackedText(None, None, 1, len(text.encode()), (_begins(text),))


def _lines(content: bytes) -> tuple[PackedText, ...]:
    """A line that is not JSON is a text, too: it leaves like the others."""
    found: dict[tuple[str | None, str | None], list[str]] = {}
    for line in io.StringIO(content.decode("utf-8", "replace")):
        if line.strip():
            try:
                source, license, text = about(parse_json(line))
            except ValueError:
                source, license, text = None, None, line
            found.setdefault((source, license), []).append(text)
    return tuple(
        PackedText(*key, len(texts), sum(len(text.encode()) for text in texts), tuple(map(_begins, texts[:SHOWN])))
        for key, texts in found.items()
    )


def _header(content: bytes) -> tuple[PackedText, ...]:
    """What a trainer wrote into the header of its weights: folders and captions of the training data, at times."""
    size = int.from_bytes(content[:8], "little")
    try:
        stated: Any = parse_json(content[8 : 8 + size]).get("__metadata__") or {}
        text = " ".join(f"{name}: {value}" for name, value in stated.items() if name not in _USUAL)
    except (ValueError, AttributeError):
        return ()
    return (_one(text),) if text else ()


def _begins(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= BEGINNING else words[:BEGINNING] + "…"
