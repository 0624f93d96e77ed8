"""Blobs that are being named, where several processes share a store: as blobs/leases.py, but all of them know it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from sqlalchemy import delete, exists, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Lease, Process
from cogen_registry.replicas.process import Alive

#: Names of blobs are hashed to the number of a lock with this seed, so that nobody else's locks are met.
_SEED = 7


class SharedLeases:
    """See :class:`cogen_registry.blobs.leases.LocalLeases`, whose place it takes."""

    def __init__(self, alive: Alive) -> None:
        self._alive, self._sessions = alive, alive.sessions
        self._lock = threading.Lock()
        self._mine: defaultdict[str, list[int]] = defaultdict(list)

    def hold(self, name: str) -> None:
        """Called before the bytes get their name: a clean-up that looks at this blob right now is over by then."""
        lease = None
        try:
            with self._sessions.bare() as session:
                _alone(session, name)
                made = insert(Lease).values(sha256=name, process=self._alive.name).returning(Lease.id)
                lease = session.execute(made).scalar_one()
                self._alive.took(lease)  # before the commit: from then on it may count
        except SQLAlchemyError:
            if lease is not None:  # whether it was committed, nobody knows
                self._alive.gave(lease, there=True)
            raise
        with self._lock:
            self._mine[name].append(lease)

    def release(self, name: str) -> None:
        """A transaction names the blob now, or never will."""
        with self._lock:
            leases = self._mine.get(name)
            lease = leases.pop() if leases else None
            if not leases:
                self._mine.pop(name, None)
        if lease is None:
            return
        try:
            with self._sessions.bare() as session:
                session.execute(delete(Lease).where(Lease.id == lease))
        except SQLAlchemyError:
            self._alive.gave(lease, there=True)
        else:
            self._alive.gave(lease)

    def delete_unless(self, name: str, needed: Callable[[], bool], delete_it: Callable[[], None]) -> bool:
        """Delete a blob that no living process holds and nothing needs; whether it was."""
        living = exists().where(Lease.sha256 == name, Lease.process == Process.name)
        with self._sessions.bare() as session:
            _alone(session, name)
            if session.scalar(select(living)) or needed():
                return False
            delete_it()
            session.execute(delete(Lease).where(Lease.sha256 == name))
            return True


def _alone(session: Session, name: str) -> None:
    """Until the end of the transaction nobody else looks at this blob, in whatever process."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, :seed))"), {"name": name, "seed": _SEED})
