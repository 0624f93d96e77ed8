"""Blobs that are kept already and named by nothing yet: a clean-up must not take them for leftovers."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

#: Seconds from keeping a blob to the transaction that names it, at the very most.
GRACE = 900.0


class Leases(Protocol):
    """Which blobs are held: :class:`LocalLeases`, or where several processes share a store, replicas/leases.py."""

    def hold(self, name: str) -> None: ...
    def release(self, name: str) -> None: ...
    def delete_unless(self, name: str, needed: Callable[[], bool], delete: Callable[[], None], /) -> bool: ...


class LocalLeases:
    """One per store of a single process. Who keeps a blob holds it, until :meth:`release` or for ``GRACE`` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._until: defaultdict[str, list[float]] = defaultdict(list)

    def hold(self, name: str) -> None:
        """Called before the bytes get their name, so that a clean-up is over by then, or leaves them alone."""
        with self._lock:
            moment = self._clock()
            for other in [one for one, until in self._until.items() if max(until) <= moment]:
                del self._until[other]
            self._until[name].append(moment + GRACE)

    def release(self, name: str) -> None:
        """A transaction names the blob now, or never will."""
        with self._lock:
            until = self._until.get(name)
            if until:
                until.pop()
            if not until:
                self._until.pop(name, None)

    def delete_unless(self, name: str, needed: Callable[[], bool], delete: Callable[[], None]) -> bool:
        """Delete a blob that nobody holds and nothing needs; whether it was."""
        with self._lock:
            moment = self._clock()
            if any(until > moment for until in self._until.get(name, ())) or needed():
                return False
            delete()
            return True
