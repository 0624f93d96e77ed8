"""Bytes on their way in, as a local file: what the stores on a disk and in S3 have in common."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from cogen_registry.blobs.store import BLOCK


class StagedFile:
    """See :class:`~cogen_registry.blobs.store.Staged`; subclasses keep it. ``folder``: where the file is made."""

    def __init__(self, folder: Path) -> None:
        self._hash, self.size = hashlib.sha256(), 0
        self._path = folder / secrets.token_hex(16)
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
        return read_blocks(Path(self.path()), 0, None)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        self._path.unlink(missing_ok=True)


def read_blocks(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
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
