"""A process says that it is alive, and stops writing when the others had to take it for dead.

Whoever holds a lease on a blob must not lose it while it lives, and nobody waits for ever for one who died. So each
process has a row with a heartbeat. When it is not heard of for long, another deletes the row: from then on its leases
count for nothing. Should it live after all (it was suspended, or cut off), its next transaction finds no row and fails:
it can't name a blob that may be gone. The row is locked until the commit, so nobody deletes it in between.
"""

from __future__ import annotations

import datetime
import logging
import secrets
import socket
import threading
import time

from sqlalchemy import ColumnElement, delete, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from cogen_registry.blobs.leases import GRACE
from cogen_registry.database.sessions import Session, Sessions
from cogen_registry.database.tables import Lease, Process
from cogen_registry.errors import Refused

_log = logging.getLogger(__name__)
#: Of the lock under which a process begins.
_NUMBER = 0x636F67656E + 2


class Alive:
    """One a process that serves. Threads share it.

    :param blobs: where its blobs are; all who share a database must have the same.
    :param seconds: without a heartbeat, until a process is taken for dead.
    :raises Refused: 409, a living process has its blobs elsewhere.
    """

    def __init__(self, sessions: Sessions, blobs: str, seconds: float) -> None:
        self.sessions, self.blobs, self.seconds = sessions, blobs, seconds
        self.name = ""
        #: Leases that were taken under a name that is worth nothing any more: until they are given back, nobody writes.
        #: Lease → when it is over at the very latest, by this process's clock.
        self._orphans: dict[int, float] = {}
        self._held: set[int] = set()
        #: Those that were given back while the database was away.
        self._rows: set[int] = set()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._register(check=True)
        sessions.guards.append(self.guard)
        self._thread.start()

    def _register(self, check: bool = False) -> None:
        name = secrets.token_hex(16)
        with self.sessions.bare() as session:  # not guarded: there is no row yet
            if check:
                session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _NUMBER})
                self._check_others(session)
            session.execute(
                insert(Process).values(name=name, host=socket.gethostname()[:300], blobs=self.blobs, seen=func.now())
            )
        with self._lock:
            self.name = name
            self._orphans |= dict.fromkeys(self._held, time.monotonic() + GRACE)
            self._held = set()

    def _check_others(self, session: Session) -> None:
        """Two that start at the same moment come here one after the other."""
        other = session.scalar(select(Process).where(Process.blobs != self.blobs, ~_old(self.seconds)).limit(1))
        if other is not None:
            raise Refused(
                409,
                f"{other.host} serves this database too, with its blobs at {other.blobs}",
                hint="give all replicas the same --blobs s3://bucket/prefix and each a --root of its own",
            )

    def guard(self, session: Session) -> None:
        """Within a transaction, before its commit.

        :raises Refused: 503, this process was taken for dead.
        """
        with self._lock:
            name, orphans = self.name, any(until > time.monotonic() for until in self._orphans.values())
        found = session.execute(
            text("SELECT 1 FROM processes WHERE name = :name FOR KEY SHARE"), {"name": name}
        ).first()
        if found is None or orphans:
            raise Refused(
                503,
                "this server was cut off from its database for a while",
                hint="try again",
                headers={"Retry-After": "2"},
            )

    def took(self, lease: int) -> None:
        with self._lock:
            self._held.add(lease)

    def gave(self, lease: int, there: bool = False) -> None:
        """It is given back. ``there``: its row could not be deleted; a heartbeat does it."""
        with self._lock:
            self._held.discard(lease)
            self._orphans.pop(lease, None)
            if there:
                self._rows.add(lease)

    def _beat(self) -> None:
        while not self._stop.wait(self.seconds / 6):
            try:
                with self._lock:
                    rows = set(self._rows)
                with self.sessions.bare() as session:
                    if rows:
                        session.execute(delete(Lease).where(Lease.id.in_(rows)))
                    mine = update(Process).where(Process.name == self.name).values(seen=func.now())
                    found = session.scalar(mine.returning(Process.name))
                with self._lock:
                    self._rows -= rows
                if not found:
                    _log.warning("this process was taken for dead: it begins again under another name")
                    self._register()
            except SQLAlchemyError as error:
                _log.warning("no heartbeat: %s", str(error).splitlines()[0])

    def close(self) -> None:
        """Its leases are worth nothing from now on."""
        self._stop.set()
        self._thread.join(10)
        try:
            with self.sessions.bare() as session:
                session.execute(delete(Lease).where(Lease.process == self.name))
                session.execute(delete(Process).where(Process.name == self.name))
        except SQLAlchemyError:  # others notice by themselves
            pass


def give_up(sessions: Sessions, seconds: float) -> int:
    """Take processes for dead that were not heard of for so long; how many."""
    with sessions.write() as session:
        return len(session.scalars(delete(Process).where(_old(seconds)).returning(Process.name)).all())


def void(sessions: Sessions) -> set[str]:
    """Blobs with leases of processes that are dead."""
    living = select(Process.name)
    with sessions.read() as session:
        return set(session.scalars(select(Lease.sha256).where(Lease.process.not_in(living))))


def bury(sessions: Sessions, names: set[str]) -> None:
    """Forget leases of dead processes on these blobs, each of which was looked at since."""
    with sessions.bare() as session:
        living = select(Process.name)
        session.execute(delete(Lease).where(Lease.sha256.in_(names), Lease.process.not_in(living)))


def _old(seconds: float) -> ColumnElement[bool]:
    """By the database's own clock: those of the machines may differ."""
    return Process.seen < func.now() - datetime.timedelta(seconds=seconds)
