"""Blobs as files: ``root/ab/abcdef…``; staged ones in ``root/.staged``: one file system, so a rename is atomic."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cogen_registry.blobs.leases import Leases, LocalLeases
from cogen_registry.blobs.staging import StagedFile, read_blocks
from cogen_registry.errors import not_found

_NAME = re.compile(r"[0-9a-f]{64}")


class DiskStore:
    """See :class:`~cogen_registry.blobs.store.BlobStore`."""

    def __init__(self, root: Path, leases: Leases | None = None) -> None:
        self.root = root
        self.staging = root / ".staged"
        self.staging.mkdir(parents=True, exist_ok=True)
        self.leases = leases or LocalLeases()

    def place(self, sha256: str) -> Path:
        if not _NAME.fullmatch(sha256):
            raise not_found("such blob", "`cogen-registry check` lists what is missing")
        return self.root / sha256[:2] / sha256

    def stage(self) -> StagedBlob:
        return StagedBlob(self)

    def size(self, sha256: str) -> int | None:
        try:
            return self.place(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        try:
            return read_blocks(self.place(sha256), start, stop)
        except FileNotFoundError:
            raise not_found("such blob", "`cogen-registry check` lists what is missing") from None

    def delete(self, sha256: str) -> None:
        self.place(sha256).unlink(missing_ok=True)

    def release(self, sha256: str) -> None:
        self.leases.release(sha256)

    def discard(self, sha256: str, needed: Callable[[], bool]) -> bool:
        return self.leases.delete_unless(sha256, needed, lambda: self.delete(sha256))

    def names(self) -> Iterator[str]:
        for folder in sorted(self.root.iterdir()):
            if re.fullmatch(r"[0-9a-f]{2}", folder.name):
                yield from sorted(file.name for file in folder.iterdir() if _NAME.fullmatch(file.name))

    def recover(self) -> None:
        shutil.rmtree(self.staging)
        self.staging.mkdir()

    def tidy(self) -> None:
        """A file is there as a whole or not at all."""


class StagedBlob(StagedFile):
    """A file that becomes a blob by a rename."""

    def __init__(self, store: DiskStore) -> None:
        super().__init__(store.staging)
        self._store = store

    def keep(self) -> str:
        assert self._file is not None
        name = self.sha256
        self._file.flush()
        os.fsync(self._file.fileno())
        self._close()
        place = self._store.place(name)
        self._store.leases.hold(name)
        try:
            fresh = not place.parent.exists()
            place.parent.mkdir(exist_ok=True)
            self._path.replace(place)
            for folder in (place.parent, self._store.root) if fresh else (place.parent,):
                _sync(folder)
        except BaseException:
            self._store.leases.release(name)
            raise
        return name


def _sync(folder: Path) -> None:
    """A rename is on the disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
