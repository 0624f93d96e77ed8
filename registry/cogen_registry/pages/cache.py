"""Rendered pages: kept until something that can be seen changes, the least used ones thrown away first."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

#: Bytes of all pages together.
MOST = 64 << 20


@dataclass(frozen=True)
class Page:
    """``keep``: is it the same until the next change?"""

    body: bytes
    keep: bool = True
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{hashlib.sha256(self.body).hexdigest()[:32]}"')


class Cache:
    """``serial`` says which state of the registry a page was made of: pages of an older one are gone."""

    def __init__(self, serial: Callable[[], int], most: int = MOST) -> None:
        self._current, self._most = serial, most
        self._pages: OrderedDict[Hashable, Page] = OrderedDict()
        self._serial, self._size = -1, 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def known(self, key: Hashable) -> Page | None:
        with self._lock:
            self._renew(self._current())
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
            return page

    def get(self, key: Hashable, make: Callable[[], Page]) -> Page:
        """The page, made where it is not known. Two threads may make it at once; nobody waits for the other."""
        if (page := self.known(key)) is not None:
            return page
        serial = self._current()  # before it is made: what changes meanwhile makes it old
        page = make()
        if page.keep and len(page.body) <= self._most:
            with self._lock:
                self._renew(self._current())
                if serial == self._serial:
                    self._put(key, page)
        return page

    def _renew(self, serial: int) -> None:
        if serial != self._serial:
            self._pages.clear()
            self._serial, self._size = serial, 0

    def _put(self, key: Hashable, page: Page) -> None:
        if (old := self._pages.pop(key, None)) is not None:
            self._size -= len(old.body)
        self._pages[key] = page
        self._size += len(page.body)
        while self._size > self._most:
            _, gone = self._pages.popitem(last=False)
            self._size -= len(gone.body)
