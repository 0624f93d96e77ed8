"""What a source archive (sdist) of a project would hold: the texts that lie beside a package must not be in it."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cogen.sharing.publishing.build import build_sdist
from cogen.sharing.publishing.private_marker import MARK

#: Kinds of files that hold text, data or documents, and never code.
_TEXTS = frozenset({".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xml", ".html", ".parquet", ".arrow"})
_DATA = _TEXTS | {".pdf", ".doc", ".docx", ".odt", ".xlsx", ".zip", ".gz", ".zst", ".7z", ".db"}
#: Prose: at the top it describes the project, in a folder it may be a text that somebody trained on.
_PROSE = frozenset({".txt", ".md", ".rst"})
_PRIVATE = ("private.yaml", "salt")
#: Folders whose data belongs to a project: its packages (src/NAME or NAME, with expert.toml) are added to them.
_PROJECT = frozenset({"tests", "docs"})
_NAMES = ("readme", "license", "licence", "notice", "copying", "authors", "changelog", "requirements")


@dataclass(frozen=True)
class SourceArchive:
    """``texts``: files of text or data outside of the packages, by path; ``marked``: may no index take it?"""

    files: int
    texts: tuple[str, ...]
    marked: bool


def source_archive(folder: Path) -> SourceArchive:
    """Build the sdist of a project in a temporary folder and look into it.

    :raises UsageError: it is not a project. :raises BuildError: no source archive can be built.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cogen-sdist-") as place,
        tarfile.open(build_sdist(folder, Path(place))) as archive,
    ):
        members = {PurePosixPath(one.name): one for one in archive.getmembers() if one.isfile()}
        inside = {PurePosixPath(*path.parts[1:]): one for path, one in members.items() if len(path.parts) > 1}
        metadata = inside.get(PurePosixPath("PKG-INFO"))
        opened = archive.extractfile(metadata) if metadata is not None else None
        marked = opened is not None and MARK.encode() in opened.read()
    packages = {path.parent for path in inside if path.name == "expert.toml"}
    texts = sorted(path.as_posix() for path in inside if _is_text(path, packages))
    return SourceArchive(len(inside), tuple(texts), marked)


def _is_text(path: PurePosixPath, packages: set[PurePosixPath]) -> bool:
    if "private" in path.parts[:-1] or path.name in _PRIVATE:
        return True
    if path.parts[0] in _PROJECT or not packages.isdisjoint(path.parents):
        return False
    suffix = path.suffix.lower()
    if suffix in _PROSE and path.name.lower().startswith(_NAMES):
        return False
    return suffix in _DATA or (suffix in _PROSE and len(path.parts) > 1)
