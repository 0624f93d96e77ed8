"""What weights/xet_store.py keeps in a folder, where several replicas need it: xorbs are blobs, the rest is in tables.

A client's xorbs and its shard may come to different replicas, and what it is told to remember holds at all of them.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from cogen_registry.blobs.store import BLOCK, BlobStore
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Places, Xorb, now
from cogen_registry.errors import Refused
from cogen_registry.service import Service
from cogen_registry.weights.answers import hub_error
from cogen_registry.weights.xet_format import TABLE, chunk_table, unpacked
from cogen_registry.weights.xet_store import KNOWN, PLACE, XorbStore, enough, merged

_EPOCH = "epoch"


class SharedXorbs(XorbStore):
    """As :class:`~cogen_registry.weights.xet_store.XorbStore`; only what is coming in lies in the root."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.settings.root / "xet")
        self._service = service

    def recover(self) -> None:
        super().recover()
        with self._service.sessions.write() as session:
            session.execute(
                delete(Places).where(Places.created < now() - datetime.timedelta(seconds=KNOWN), Places.name != _EPOCH)
            )

    def epoch(self, publisher: int) -> str:
        fresh = secrets.token_hex(4).encode()
        with self._service.sessions.write() as session:
            made = insert(Places).values(publisher_id=publisher, name=_EPOCH, places=fresh, created=now())
            session.execute(made.on_conflict_do_nothing())
            found: bytes = session.scalars(_of(Places, publisher, _EPOCH, Places.places)).one()
        return found.decode()

    def staged(self, publisher: int) -> int:
        with self._service.sessions.read() as session:
            return int(session.scalar(select(func.sum(Xorb.size)).where(Xorb.publisher_id == publisher)) or 0)

    def sweep(self, publisher: int, older: float) -> None:
        old = now() - datetime.timedelta(seconds=older)
        with self._service.sessions.write() as session:
            gone = session.scalars(
                delete(Xorb).where(Xorb.publisher_id == publisher, Xorb.created < old).returning(Xorb.sha256)
            ).all()
        for sha256 in gone:
            self._service.discard(sha256)

    def has(self, publisher: int, name: str) -> bool:
        with self._service.sessions.read() as session:
            return session.scalar(_of(Xorb, publisher, name, Xorb.name)) is not None

    def admit(self, publisher: int, name: str, draft: Path) -> None:
        service = self._service
        with draft.open("rb") as file:
            table = chunk_table(file)
            if not len(table):
                raise hub_error(400, "this xorb is empty", "upload with `hf upload`")
            file.seek(0)
            with service.blobs.stage() as staged:
                while block := file.read(BLOCK):
                    staged.write(block)
                sha256, size = staged.keep(), staged.size
        try:
            with service.sessions.write() as session:
                values = {"sha256": sha256, "size": size, "chunks": table.tobytes(), "created": now()}
                made = insert(Xorb).values(publisher_id=publisher, name=name, **values)
                session.execute(made.on_conflict_do_nothing())
        finally:
            service.blobs.release(sha256)
            service.discard(sha256)  # only where no row came of it

    def read(self, blobs: BlobStore, publisher: int, name: str, start: int, stop: int) -> Iterator[bytes]:
        with self._service.sessions.read() as session:
            xorb = session.get(Xorb, (publisher, name))
        if xorb is None:
            yield from self._read_known(blobs, publisher, name, start, stop)
            return
        rows = np.frombuffer(xorb.chunks, TABLE)[start:stop]
        enough(rows, start, stop)
        begin, end = int(rows["offset"][0]), int(rows["offset"][-1]) + int(rows["packed"][-1])
        try:
            packed = b"".join(blobs.read(xorb.sha256, begin, end))  # in one request, and at most a xorb
        except Refused:  # another replica was done with it a moment ago
            yield from self._read_known(blobs, publisher, name, start, stop)
            return
        for row in rows:
            at = int(row["offset"]) - begin
            yield unpacked(packed[at : at + int(row["packed"])], int(row["scheme"]), int(row["size"]))

    def sizes(self, publisher: int, name: str) -> np.ndarray | None:
        with self._service.sessions.read() as session:
            table = session.scalar(_of(Xorb, publisher, name, Xorb.chunks))
        if table is None:
            return None
        sizes: np.ndarray = np.frombuffer(table, TABLE)["size"]
        return sizes

    def known(self, publisher: int, name: str) -> np.ndarray:
        with self._service.sessions.read() as session:
            return _places(session, publisher, name)

    def learn(self, publisher: int, name: str, places: np.ndarray, chunks: int) -> None:
        with self._service.sessions.write() as session:
            made = insert(Places).values(publisher_id=publisher, name=name, places=b"", created=now())
            session.execute(made.on_conflict_do_nothing())  # there is a row: now it can be locked
            session.scalar(_of(Places, publisher, name, Places.name).with_for_update())
            every = merged(_places(session, publisher, name), places)
            session.get_one(Places, (publisher, name)).places = every.tobytes()
            gone = (
                session.scalars(
                    delete(Xorb).where(Xorb.publisher_id == publisher, Xorb.name == name).returning(Xorb.sha256)
                ).all()
                if len(every) == chunks
                else []
            )
        for sha256 in gone:
            self._service.discard(sha256)

    def _begin_anew(self, publisher: int) -> None:
        with self._service.sessions.write() as session:
            session.execute(delete(Places).where(Places.publisher_id == publisher))


def _of(table: Any, publisher: int, name: str, column: Any) -> Any:
    return select(column).where(table.publisher_id == publisher, table.name == name)


def _places(session: Session, publisher: int, name: str) -> np.ndarray:
    return np.frombuffer(session.scalar(_of(Places, publisher, name, Places.places)) or b"", PLACE)
