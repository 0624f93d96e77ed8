"""Files of weights: which may be stored at all (:mod:`cogen.wheels.weights`), and the digest of a folder of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatch

from cogen.wheels import weights
from cogen.wheels.weights import ALLOWED, MAX_HEADER, PLAIN_NAMES, TEXTS
from cogen_registry.errors import translated

__all__ = ["ALLOWED", "MAX_HEADER", "PLAIN_NAMES", "TEXTS", "check_weight_file", "folder_digest", "taken"]


def check_weight_file(path: str, name: str) -> None:
    """As :func:`cogen.wheels.weights.check_weight_file`.

    :raises Refused: 400, its kind is not allowed, or its bytes are of another kind; 413, it is too large.
    """
    with translated():
        weights.check_weight_file(path, name)


def folder_digest(entries: Iterable[tuple[str, str]]) -> str:
    """What ``cogen.checkpoints.digests.file_digest`` says of a folder, without reading it.

    :param entries: (path in the folder, hex SHA-256) of every file; hidden files and ``__pycache__`` don't count.
    """
    lines = [
        f"{sha256}  {path}\n"
        for path, sha256 in sorted(entries)
        if not any(part.startswith((".", "__pycache__")) for part in path.split("/"))
    ]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def taken(path: str) -> bool:
    """Whether a source ``hf://org/repo@revision`` brings this file: only such files count in its digest."""
    from cogen.checkpoints.sources.hf import _PATTERNS

    return any(fnmatch(path, pattern) for pattern in _PATTERNS)
