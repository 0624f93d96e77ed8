"""Folders that are written once in a process and then copied: making a tiny model takes longer than reading it."""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any


class _Store:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cogen-test-models-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.places: dict[str, Path] = {}


@functools.cache
def _store() -> _Store:
    return _Store()


def written_once(folder: Path, key: Any, write: Callable[[Path], Any]) -> Path:
    """``folder`` with what ``write`` puts into an empty one; keys of the same repr give the same files."""
    store, name = _store(), repr(key)
    if name not in store.places:
        place = store.folder / str(len(store.places))
        write(place)
        store.places[name] = place
    shutil.copytree(store.places[name], folder, dirs_exist_ok=True)
    return folder
