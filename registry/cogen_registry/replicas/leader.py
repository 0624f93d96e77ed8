"""One of all processes does what is to be done once: an advisory lock of PostgreSQL says which.

The lock belongs to a connection. When its process dies, or the server restarts, it is free, and another takes it within
a second or two. For a moment two may both think that they lead: everything that a leader does is right when it is done
twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from cogen_registry.database.sessions import Sessions

_log = logging.getLogger(__name__)
_NUMBER = 0x636F67656E + 1
#: Seconds between two looks at who leads.
_PULSE = 0.5


@dataclass
class Duty:
    """Something that the leader does every so many ``seconds``, the first time when it was ``first`` seconds leader."""

    work: Callable[[], None]
    seconds: float
    first: float = 0.0
    due: float = field(default=0.0)


class Leader:
    """One a process. On SQLite it always leads: there is no other."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.duties: list[Duty] = []
        self._elected: list[Callable[[], None]] = []
        self._connection: Connection | None = None
        self._stop = threading.Event()
        self._leads = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)

    @property
    def leads(self) -> bool:
        return self._leads.is_set()

    def elected(self, call: Callable[[], None]) -> None:
        """Call this when this process becomes the leader, or now if it is."""
        self._elected.append(call)
        if self.leads:
            call()

    def start(self) -> None:
        if not self._sessions.postgresql:
            self._leads.set()
            self._begin()
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self._lose()

    def _run(self) -> None:
        while not self._stop.wait(_PULSE):
            if self._sessions.postgresql:
                try:
                    self._look()
                except SQLAlchemyError:
                    self._lose()
            for duty in self.duties if self.leads else ():
                if duty.due <= time.monotonic() and not self._stop.is_set():
                    duty.due = time.monotonic() + duty.seconds
                    try:
                        duty.work()
                    except Exception as error:  # noqa: BLE001 - a database that is away: at the next time
                        _log.warning("%s failed: %s", duty.work.__name__, str(error).splitlines()[0])

    def _look(self) -> None:
        """Take the lock if nobody has it, or see that it is still ours."""
        if self._connection is None:
            self._connection = self._sessions.engine.connect()
        connection = self._connection
        if self.leads:
            connection.execute(text("SELECT 1"))
        elif connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _NUMBER}):
            self._leads.set()
            self._begin()
        connection.rollback()  # the lock is the session's, not the transaction's

    def _begin(self) -> None:
        for duty in self.duties:
            duty.due = time.monotonic() + duty.first
        for call in list(self._elected):
            call()

    def _lose(self) -> None:
        self._leads.clear()
        if self._connection is not None:
            self._connection.invalidate()  # whether it is broken or not: its lock goes with it
            self._connection.close()
            self._connection = None
