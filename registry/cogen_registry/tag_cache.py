"""What is kept in memory, each thing with what it depends on: a change throws away exactly what it touches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
#: A tag that every change drops, for what depends on everything, or doesn't say on what.
ANYTHING = "*"
#: Tags whose last drop is remembered; beyond, what is being made at that moment is not kept.
_REMEMBERED = 10_000


class TagCache(Generic[T]):
    """Values by key; the ones that were asked for longest ago go first. Threads share it.

    Between reading the database and keeping what was made of it, it may change. So who makes something takes a
    :meth:`stamp` first, and what was dropped since is not kept.

    :param most: of all sizes together. :param size: of one value; by default their number counts.
    """

    def __init__(self, most: int, size: Callable[[T], int] = lambda value: 1) -> None:
        self._most, self._measure = most, size
        self._values: OrderedDict[Hashable, tuple[T, frozenset[str]]] = OrderedDict()
        self._keys: dict[str, set[Hashable]] = {}
        self._dropped: dict[str, int] = {}
        self._moment, self._floor, self._size = 0, 0, 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def size(self) -> int:
        return self._size

    def stamp(self) -> int:
        """To be taken before anything is read."""
        return self._moment

    def get(self, key: Hashable) -> T | None:
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: T, tags: Iterable[str], stamp: int) -> bool:
        """Keep it, unless one of its tags was dropped after ``stamp``; was it kept?"""
        whole = frozenset(tags)
        with self._lock:
            late = stamp < self._floor or any(self._dropped.get(tag, 0) > stamp for tag in whole)
            if late or self._measure(value) > self._most:
                return False
            self._forget(key)
            self._values[key] = value, whole
            self._size += self._measure(value)
            for tag in whole:
                self._keys.setdefault(tag, set()).add(key)
            while self._size > self._most:
                self._forget(next(iter(self._values)))
            return True

    def drop(self, tags: Iterable[str] | None) -> None:
        """Throw away what has one of these tags; ``None``: everything."""
        with self._lock:
            self._moment += 1
            if tags is None:
                self._values.clear()
                self._keys.clear()
                self._dropped.clear()
                self._floor, self._size = self._moment, 0
                return
            for tag in tags:
                self._dropped[tag] = self._moment
                for key in list(self._keys.get(tag, ())):
                    self._forget(key)
            if len(self._dropped) > _REMEMBERED:
                self._dropped.clear()
                self._floor = self._moment

    def _forget(self, key: Hashable) -> None:
        found = self._values.pop(key, None)
        if found is None:
            return
        self._size -= self._measure(found[0])
        for tag in found[1]:
            keys = self._keys[tag]
            keys.discard(key)
            if not keys:
                del self._keys[tag]
