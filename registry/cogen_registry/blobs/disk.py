"""Blobs as files: ``root/ab/abcdef…``; staged ones in ``root/.staged``: one file system, so a rename is atomic."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from cogen_registry.blobs.held import Held, Holding
from cogen_registry.blobs.store import BLOCK
from cogen_registry.errors import missing

_NAME = re.compile(r"[0-9a-f]{64}")


class DiskStore:
    """See :class:`~cogen_registry.blobs.store.BlobStore`."""

    def __init__(self, root: Path, held: Holding | None = None) -> None:
        self.root = root
        self.staging = root / ".staged"
        self.staging.mkdir(parents=True, exist_ok=True)
        self.held = held or Held()

    def place(self, sha256: str) -> Path:
        if not _NAME.fullmatch(sha256):
            raise missing("such blob", "`cogen-registry check` says what is lost")
        return self.root / sha256[:2] / sha256

    def stage(self) -> StagedFile:
        return StagedFile(self)

    def size(self, sha256: str) -> int | None:
        try:
            return self.place(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        try:
            return _blocks(self.place(sha256), start, stop)
        except FileNotFoundError:
            raise missing("such blob", "`cogen-registry check` says what is lost") from None

    def delete(self, sha256: str) -> None:
        self.place(sha256).unlink(missing_ok=True)

    def settled(self, sha256: str) -> None:
        self.held.settled(sha256)

    def discard(self, sha256: str, needed: Callable[[], bool]) -> bool:
        return self.held.unless(sha256, needed, lambda: self.delete(sha256))

    def names(self) -> Iterator[str]:
        for folder in sorted(self.root.iterdir()):
            if re.fullmatch(r"[0-9a-f]{2}", folder.name):
                yield from sorted(file.name for file in folder.iterdir() if _NAME.fullmatch(file.name))

    def recover(self) -> None:
        shutil.rmtree(self.staging)
        self.staging.mkdir()

    def tidy(self) -> None:
        """A file is there as a whole or not at all."""


class StagedFile:
    """See :class:`~cogen_registry.blobs.store.Staged`."""

    def __init__(self, store: DiskStore) -> None:
        self._store, self._hash, self.size = store, hashlib.sha256(), 0
        self._path = store.staging / secrets.token_hex(16)
        self._file: BinaryIO | None = self._path.open("xb")

    def write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def path(self) -> str:
        assert self._file is not None
        self._file.flush()
        return str(self._path)

    def read(self) -> Iterator[bytes]:
        return _blocks(Path(self.path()), 0, None)

    def keep(self) -> str:
        assert self._file is not None
        name = self.sha256
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        place = self._store.place(name)
        self._store.held.hold(name)
        try:
            fresh = not place.parent.exists()
            place.parent.mkdir(exist_ok=True)
            self._path.replace(place)
            for folder in (place.parent, self._store.root) if fresh else (place.parent,):
                _sync(folder)
        except BaseException:
            self._store.held.settled(name)
            raise
        return name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """A rename is on the disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _blocks(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    """A part of a file that is open from now on, and closed even by a reader who never asked for a block."""
    blocks = _opened(path, start, stop)
    next(blocks)
    return blocks


def _opened(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield b""  # a generator that has not begun would not close it
        file.seek(start)
        left = None if stop is None else stop - start
        while left is None or left > 0:
            block = file.read(BLOCK if left is None else min(BLOCK, left))
            if not block:
                return
            if left is not None:
                left -= len(block)
            yield block
