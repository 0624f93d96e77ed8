"""What the parts of a service keep between requests: one object of each type (the search index, the verifier, …)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Closeable(Protocol):
    """A component that has something to end with the service: a thread, or jobs."""

    def close(self) -> None: ...


class Components:
    """Components by their type. Threads share it; making one may make others."""

    def __init__(self) -> None:
        self._made: dict[type[object], object] = {}
        self._lock = threading.RLock()

    def get(self, kind: type[T]) -> T | None:
        """The component of this type; ``None``: nobody made it yet."""
        found = self._made.get(kind)
        assert found is None or isinstance(found, kind)
        return found

    def get_or_make(self, kind: type[T], make: Callable[[], T]) -> T:
        """The component of this type, made at the first call."""
        if (found := self.get(kind)) is not None:
            return found
        with self._lock:
            found = self.get(kind)
            return self.put(make()) if found is None else found

    def put(self, component: T) -> T:
        """Add a component, or replace the one of its type."""
        with self._lock:
            self._made[type(component)] = component
        return component

    def discard(self, kind: type[object]) -> None:
        """Forget the component of this type: the next call makes a new one."""
        with self._lock:
            self._made.pop(kind, None)

    def close(self) -> None:
        """End those that have something to end, in the order in which they were made."""
        for component in list(self._made.values()):
            if isinstance(component, Closeable):
                component.close()
