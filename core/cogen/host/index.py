"""A cache of validated manifests, so that `cogen list` neither parses TOML nor imports the models of the contract.

Keyed by the manifest's path with its change times, inode and size; dropped as a whole when the contract's own files
change. Losing it costs a second, so every failure to read or write it is ignored.
"""

from __future__ import annotations

import json
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from cogen.files import atomic_write, cache_dir
from cogen.host.manifest import Reading, read_manifest


class Index:
    """Readings of manifests, remembered between processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = (folder or cache_dir(make=False)) / f"manifests-{zlib.crc32(sys.prefix.encode()):08x}.json"
        self._stamp = _stamp()
        self._old = self._load()
        self._new: dict[str, Any] = {}

    def read(self, path: Path) -> Reading:
        """The reading of one ``expert.toml``, from the cache if the file has not changed."""
        try:
            facts = path.stat()
        except OSError:
            return read_manifest(path)
        key = [facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_size]
        entry = self._old.get(str(path))
        if entry is not None and entry["key"] == key:
            self._new[str(path)] = entry
            return Reading(*entry["reading"])
        reading = read_manifest(path)
        self._new[str(path)] = {"key": key, "reading": [reading.document, reading.state, reading.reason, reading.hint]}
        return reading

    def save(self) -> None:
        """Write what was read, if any of it is new; whole or not at all."""
        if self._new.keys() <= self._old.keys() and all(self._new[path] is self._old[path] for path in self._new):
            return
        with suppress(OSError, ValueError):
            atomic_write(self._file, json.dumps({"stamp": self._stamp, "entries": self._new}).encode())

    def _load(self) -> dict[str, Any]:
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            return dict(stored["entries"]) if stored["stamp"] == self._stamp else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _stamp() -> list[Any]:
    """Changes when the contract does."""
    here = Path(__file__).parent
    files = sorted([*here.parent.joinpath("spec").glob("*.py"), *here.glob("*.py")])
    return [[file.name, (facts := file.stat()).st_mtime_ns, facts.st_size] for file in files]
