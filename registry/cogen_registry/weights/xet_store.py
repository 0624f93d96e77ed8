"""Xorbs on their way to become files, outside of the blob store: ``root/xet/{publisher}/…``.

``xorbs/`` holds what was uploaded and no file was made of yet; it is emptied at the start. ``known/`` remembers where
each chunk ended up: clients remember for three weeks what they uploaded, and send only its name again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cogen_registry.blobs.store import BlobStore
from cogen_registry.errors import Refused
from cogen_registry.weights.answers import hub_error
from cogen_registry.weights.xet_format import chunk_table, unpacked

#: Where a chunk of a xorb is now: ``size`` bytes at ``offset`` of the blob ``sha256``.
PLACE = np.dtype([("index", "<u4"), ("size", "<u4"), ("offset", "<u8"), ("sha256", "V32")])
#: Seconds; clients forget after three weeks.
KNOWN = 28 * 24 * 3600.0
_TABLES = 64


class XorbStore:
    """Each publisher has its own: a xorb that somebody else uploaded is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[Path, int], np.ndarray] = OrderedDict()

    def recover(self) -> None:
        """Remove xorbs that no shard came for, and what no client remembers any more."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        for publisher in self.root.iterdir():
            shutil.rmtree(publisher / "xorbs", ignore_errors=True)
            for draft in publisher.glob("epoch.*"):
                draft.unlink()
            for file in (publisher / "known").glob("*"):
                if file.suffix or file.stat().st_mtime < time.time() - KNOWN:
                    file.unlink()

    def epoch(self, publisher: int) -> str:
        """Part of the URL under which clients remember what they uploaded: another one, and they begin anew."""
        file = self.root / str(publisher) / "epoch"
        with self._lock:
            if not file.exists():
                file.parent.mkdir(exist_ok=True)
                _write(file, secrets.token_hex(4).encode())
            return file.read_text()

    def xorb(self, publisher: int, name: str) -> Path:
        return self.root / str(publisher) / "xorbs" / name

    def draft(self, publisher: int) -> Path:
        """A fresh name for bytes that are coming in."""
        folder = self.root / str(publisher) / "xorbs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f".{secrets.token_hex(8)}"

    def staged(self, publisher: int) -> int:
        """Bytes that wait for their shard."""
        total = 0
        for file in self.xorb(publisher, "").glob("[0-9a-f]*"):
            try:
                total += file.stat().st_size
            except FileNotFoundError:  # a job is done with it
                continue
        return total

    def sweep(self, publisher: int, older: float) -> None:
        """Remove xorbs of uploads that were given up ``older`` seconds ago."""
        for file in self.xorb(publisher, "").glob("*"):
            try:
                if file.stat().st_mtime < time.time() - older:
                    file.unlink()
            except FileNotFoundError:
                continue

    def has(self, publisher: int, name: str) -> bool:
        return self.xorb(publisher, name).exists()

    def admit(self, publisher: int, name: str, draft: Path) -> None:
        """:raises Refused: 400, the draft is not a whole xorb."""
        with draft.open("rb") as file:
            if not len(chunk_table(file)):
                raise hub_error(400, "this xorb is empty", "upload with `hf upload`")
        draft.replace(self.xorb(publisher, name))

    def read(self, blobs: BlobStore, publisher: int, name: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of chunks ``start`` to ``stop`` (exclusive) of a xorb, unpacked.

        :raises Refused: 400, this publisher has no such xorb, or it is not what it says.
        """
        path = self.xorb(publisher, name)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            yield from self._read_known(blobs, publisher, name, start, stop)
            return
        with file:
            rows = self._table(path, file)[start:stop]
            enough(rows, start, stop)
            for row in rows:
                file.seek(int(row["offset"]))
                yield unpacked(file.read(int(row["packed"])), int(row["scheme"]), int(row["size"]))

    def _read_known(self, blobs: BlobStore, publisher: int, name: str, start: int, stop: int) -> Iterator[bytes]:
        places = self.known(publisher, name)
        rows = places[(places["index"] >= start) & (places["index"] < stop)]
        try:
            enough(rows, start, stop)
            for row in rows:
                offset, size = int(row["offset"]), int(row["size"])
                yield from blobs.read(bytes(row["sha256"]).hex(), offset, offset + size)
        except Refused:
            self._begin_anew(publisher)
            raise hub_error(
                400, "chunks that this upload refers to are no longer here", "upload again: all will be sent"
            ) from None

    def sizes(self, publisher: int, name: str) -> np.ndarray | None:
        """Unpacked sizes of a xorb's chunks, shape (chunks,); ``None`` once only its places are known."""
        path = self.xorb(publisher, name)
        try:
            with path.open("rb") as file:
                return self._table(path, file)["size"]
        except FileNotFoundError:
            return None

    def known(self, publisher: int, name: str) -> np.ndarray:
        """Places of a xorb's chunks, by index; shape (known chunks,) of ``PLACE``."""
        try:
            return np.frombuffer((self.root / str(publisher) / "known" / name).read_bytes(), PLACE)
        except FileNotFoundError:
            return np.empty(0, PLACE)

    def learn(self, publisher: int, name: str, places: np.ndarray, chunks: int) -> None:
        """Remember where chunks are; a xorb whose chunks all are elsewhere is not needed any longer."""
        with self._lock:
            every = merged(self.known(publisher, name), places)
            file = self.root / str(publisher) / "known" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, every.tobytes())
            if len(every) == chunks:
                self.xorb(publisher, name).unlink(missing_ok=True)

    def _table(self, path: Path, file: BinaryIO) -> np.ndarray:
        key = (path, os.fstat(file.fileno()).st_ino)
        with self._lock:
            table = self._tables.get(key)
            if table is not None:
                self._tables.move_to_end(key)
                return table
        table = chunk_table(file)
        with self._lock:
            self._tables[key] = table
            while len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
        return table

    def _begin_anew(self, publisher: int) -> None:
        """What the client remembers is of no use: make it forget."""
        with self._lock:
            shutil.rmtree(self.root / str(publisher) / "known", ignore_errors=True)
            (self.root / str(publisher) / "epoch").unlink(missing_ok=True)


def enough(rows: np.ndarray, start: int, stop: int) -> None:
    if stop <= start or len(rows) != stop - start:
        raise hub_error(400, "a file of this shard names chunks that were not uploaded", "upload again")


def merged(known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places by index; a newer one wins."""
    every = np.concatenate([known, places])
    _, last = np.unique(every["index"][::-1], return_index=True)
    return every[::-1][last]


def _write(file: Path, data: bytes) -> None:
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    draft.write_bytes(data)
    draft.replace(file)
