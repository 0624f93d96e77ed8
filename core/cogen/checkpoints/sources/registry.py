"""``hf://`` weights that lie in a registry: the same names as on the Hub, fetched by our own client.

huggingface_hub reads its endpoint once at import, keeps repositories of all endpoints under one name in its cache, and
names files in it by whatever ETag a server sends. Here the tree says which files there are and what they hash to; a
name that leads out of the folder is refused; every file is compared with its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from cogen.cache import cached
from cogen.errors import SourceError, UnsafeError
from cogen.files import atomic_folder, locked
from cogen.remote.client import Client
from cogen.remote.fields import text, whole
from cogen.trust.registries import Registry

_TELL = "do not use it, and tell the registry's operator"
#: Characters of a path: as many as a registry takes, and fewer than any disk.
_LONGEST = 500


def place_of(registry: Registry, repository: str, revision: str) -> Path:
    """Where a snapshot lies in our cache: registries don't share names."""
    host = hashlib.sha256(registry.url.encode()).hexdigest()[:12]
    return cached("registry", host, f"{repository.replace('/', '--')}-{revision}")


def snapshot(
    registry: Registry,
    repository: str,
    revision: str,
    patterns: list[str],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Path:
    """The files of one commit that match ``patterns``, in our cache; fetched once, whole or not at all.

    :param advance: called with numbers of bytes.
    :raises RegistryError: it can't be reached, or has no such commit. :raises DigestError: other bytes than announced.
    :raises UnsafeError: a file has a name that leads elsewhere.
    """
    home = place_of(registry, repository, revision)
    with locked(home):
        if not home.is_dir():
            client = Client(registry)
            files = tree(client, repository, revision)
            with atomic_folder(home) as part:
                for path, (size, sha256) in files.items():
                    if any(fnmatch(path, pattern) for pattern in patterns):
                        target = part / path
                        target.parent.mkdir(parents=True, exist_ok=True)
                        client.download(
                            resolve(repository, revision, path), target, size=size, sha256=sha256, advance=advance
                        )
    return home


def resolve(repository: str, revision: str, path: str) -> str:
    """Path of the URL of one file."""
    return f"/{repository}/resolve/{revision}/{quote(path)}"


def tree(client: Client, repository: str, revision: str) -> dict[str, tuple[int, str | None]]:
    """Path → (size, hex SHA-256; ``None`` for small files, of which the Hub's protocol has another hash)."""
    answer: Any = client.get(f"/api/models/{repository}/tree/{revision}", {"recursive": "true"})
    found: dict[str, tuple[int, str | None]] = {}
    try:
        for entry in answer:
            if entry["type"] == "file":
                path, size = _safe(entry["path"]), whole(entry["size"])
                large = entry.get("lfs") or {}
                found[path] = size, text(large["oid"], 64) if large.get("oid") is not None else None
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise SourceError(
            f"{client.url} lists {repository} in a form that is not known", hint="is it a registry of CoGen?"
        ) from error
    for path in found:
        if inside := next((str(one) for one in PurePosixPath(path).parents if str(one) in found), None):
            raise UnsafeError(f"a repository holds the path {path!r} in the file {inside!r}", hint=_TELL)
    if not found:
        raise SourceError(f"{repository} is empty at {revision[:8]}", hint="ask its publisher")
    return found


def _safe(path: Any) -> str:
    """:raises TypeError: it is not text. :raises UnsafeError: it leads elsewhere, or no disk has such a name."""
    if not isinstance(path, str):
        raise TypeError("it is not text")
    pure = PurePosixPath(path)
    good = path.isprintable() and len(path) <= _LONGEST and all(len(part.encode()) <= 255 for part in pure.parts)
    if not good or pure.is_absolute() or ".." in pure.parts or re.search(r"[\\:\0]", path) or str(pure) != path:
        raise UnsafeError(f"a repository holds the path {path[:200]!r}", hint=_TELL)
    return path
