"""A thread that signs again what grows old, and says weeks ahead what only the operator can sign."""

from __future__ import annotations

import logging
import sys
import threading
import time

from cogen_registry.metadata.setup import expiries
from cogen_registry.metadata.signer import due
from cogen_registry.service import Service

#: Seconds between two looks, and between two warnings.
_LOOK, _WARN = 5.0, 24 * 3600.0
_log = logging.getLogger("cogen_registry")


class Renewal:
    """A daemon; several processes may each have one: signing is alone in its transaction."""

    def __init__(self, service: Service, look: float = _LOOK) -> None:
        self.service, self._look = service, look
        #: One line for each role that ends soon.
        self.expiring: list[str] = []
        self._stop = threading.Event()
        self._warned = float("-inf")
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.once()
            except Exception:  # noqa: BLE001 - a database that is away for a while: the next look tries again
                _log.exception("metadata could not be signed again")
            self._stop.wait(self._look)

    def once(self) -> None:
        """Sign what is due, warn of what will be."""
        signer = self.service.signer
        if signer is None:
            return
        with self.service.sessions.read() as session:
            needed = due(session)
            ends = [one for one in expiries(session) if one.role in ("root", "targets") and one.soon]
        self.expiring = [f"{one.role} ends on {one.expires:%Y-%m-%d}, in {one.days} days" for one in ends]
        if ends and time.monotonic() - self._warned > _WARN:
            self._warned = time.monotonic()
            for line in self.expiring:
                print(f"warning: the metadata role {line}; after that nobody can add anything", file=sys.stderr)  # noqa: T201
            print("hint: cogen-registry renew --keys FOLDER-OF-OFFLINE-KEYS", file=sys.stderr, flush=True)  # noqa: T201
        while needed and not self._stop.is_set():
            with self.service.sessions.write() as session:
                needed = signer.renew(session)
