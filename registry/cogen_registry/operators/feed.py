"""A thread of the service that sees what commands beside it changed, and writes what was only counted so far.

Every command writes the audit log in its own transaction; a new row of an operator there is the sign that something
which is kept in memory may be old. What publishers change by the API the service knows already.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import func, select

from cogen_registry.admission.verifier import Verifier
from cogen_registry.database.tables import AuditEntry
from cogen_registry.operators.purge import delete_doomed
from cogen_registry.service import Service

#: Seconds between two looks; a command that hides something returns after two of them.
PACE = 0.2
#: Seconds between two writings of counts.
_WRITES = 5.0
_log = logging.getLogger(__name__)


class Feed:
    """Started and stopped with the application."""

    def __init__(self, service: Service) -> None:
        self._service, self._stop = service, threading.Event()
        self._seen, self._written = self._newest(), time.monotonic()
        self._thread = threading.Thread(target=self._run, name="operators", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._service.sessions.tally.flush(self._service.sessions)

    def look(self) -> bool:
        """Once; whether something had changed."""
        fresh = select(AuditEntry.id, AuditEntry.operator).where(AuditEntry.id > self._seen).order_by(AuditEntry.id)
        with self._service.sessions.read() as session:
            rows = session.execute(fresh).all()
        if rows:
            self._seen = rows[-1].id
        if all(row.operator in (None, "service") for row in rows):
            return False
        self._service.changed()
        delete_doomed(self._service)
        verifier = self._service.rooms.get("verifier")
        if isinstance(verifier, Verifier):  # what was restored may have to wait for its weights
            verifier.wake()
        return True

    def _newest(self) -> int:
        with self._service.sessions.read() as session:
            return session.scalar(select(func.max(AuditEntry.id))) or 0

    def _run(self) -> None:
        try:
            delete_doomed(self._service)
        except Exception:  # noqa: BLE001 - the next take-down tries again
            _log.exception("blobs that were purged could not be deleted")
        while not self._stop.wait(PACE):
            try:
                self.look()
                if time.monotonic() - self._written > _WRITES:
                    self._written = time.monotonic()
                    self._service.sessions.tally.flush(self._service.sessions)
            except Exception:  # noqa: BLE001 - a database that is away for a moment: the next look tries again
                if not self._stop.is_set():
                    _log.exception("changes of operators could not be read")
