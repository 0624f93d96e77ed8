"""Rendered pages: kept until something changes that they show, the least used ones thrown away first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cogen_registry.tag_cache import ANYTHING, TagCache

#: Bytes of all pages together.
MOST = 64 << 20


@dataclass(frozen=True)
class Page:
    """``keep``: is it the same until something with one of its ``tags`` changes?"""

    body: bytes
    keep: bool = True
    tags: frozenset[str] = frozenset((ANYTHING,))
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{hashlib.sha256(self.body).hexdigest()[:32]}"')


class Cache(TagCache[Page]):
    """Pages by what was asked for; tags are those of :mod:`cogen_registry.news`."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__(most, lambda page: len(page.body))

    def made(self, key: Hashable, make: Callable[[], Page]) -> Page:
        """The page, made where it is not known. Two threads may make it at once; nobody waits for the other."""
        if (page := self.get(key)) is not None:
            return page
        stamp = self.stamp()  # before it is made: what changes meanwhile makes it old
        page = make()
        if page.keep:
            self.put(key, page, page.tags, stamp)
        return page
