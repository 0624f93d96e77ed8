"""Where a page's links lead: to paths of a service, or to files of a mirror."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode

_STATIC = Path(__file__).parent / "static"


class Links(Protocol):
    """``live``: there is a service behind the page that searches and compares."""

    live: bool

    def page(self, *parts: str, **query: object) -> str: ...
    def json(self, *parts: str) -> str: ...
    def file(self, *parts: str) -> str: ...


class Served:
    """Paths of a service. ``prefix``: what stands before all of them behind a proxy, such as ``/registry``."""

    live = True

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix.rstrip("/")

    def page(self, *parts: str, **query: object) -> str:
        kept = [(key, value) for key, value in query.items() if value not in (None, "", 0)]
        return self.file(*parts) + (f"?{urlencode(kept, doseq=True)}" if kept else "")

    def json(self, *parts: str) -> str:
        return self.file(*parts)

    def file(self, *parts: str) -> str:
        return f"{self._prefix}/{_joined(parts)}"


class Mirrored:
    """Files of a mirror, relative to the page ``here``: they are right wherever the mirror lies.

    There is nobody who could answer a query: what was asked for goes to the filter of the page, behind ``#``.
    """

    live = False

    def __init__(self, *here: str) -> None:
        self._up = "../" * len(here)

    def page(self, *parts: str, **query: object) -> str:
        words = " ".join(str(value) for value in query.values() if value)
        return f"{self._up}{_joined((*parts, 'index.html'))}" + (f"#{quote(words)}" if words else "")

    def json(self, *parts: str) -> str:
        return f"{self._up}{_joined((*parts, 'index.json'))}"

    def file(self, *parts: str) -> str:
        return self._up + _joined(parts)


def _joined(parts: tuple[str, ...]) -> str:
    return "/".join(quote(part, safe="") for part in parts)


@cache
def assets() -> dict[str, bytes]:
    """Name with the digest of its bytes → bytes: what has such a name never changes."""
    return {named(path.name): path.read_bytes() for path in _STATIC.iterdir() if path.is_file()}


@cache
def named(name: str) -> str:
    """``pages.css`` → ``pages.0123456789ab.css``."""
    digest = hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]
    stem, _, kind = name.rpartition(".")
    return f"{stem}.{digest}.{kind}"
