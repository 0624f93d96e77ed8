"""A thread of the service that deletes the bytes of what was purged, and writes what was only counted so far."""

from __future__ import annotations

import logging
import threading
import time

from cogen_registry.operators.purge import delete_doomed
from cogen_registry.service import Service

#: Seconds between two looks.
_PACE = 0.5
#: Seconds between two writings of counts.
_WRITES = 5.0
_log = logging.getLogger(__name__)


class Upkeep:
    """Started and stopped with the application. Several replicas may do the same: each asks before it deletes."""

    def __init__(self, service: Service) -> None:
        self._service, self._stop = service, threading.Event()
        self._written = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._service.sessions.tally.flush(self._service.sessions)

    def _run(self) -> None:
        while not self._stop.wait(_PACE):
            try:
                delete_doomed(self._service)
                if time.monotonic() - self._written > _WRITES:
                    self._written = time.monotonic()
                    self._service.sessions.tally.flush(self._service.sessions)
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment: the next look tries again
                if not self._stop.is_set():
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    _log.warning("what was purged could not be deleted, or counts not be written: %s", reason)
