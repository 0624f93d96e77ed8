"""Whether bytes that are stored already are what their name in a commit says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cogen_registry.admission.pool import pool_of
from cogen_registry.admission.weights import MAX_HEADER
from cogen_registry.service import Service


def check_blob(service: Service, sha256: str, path: str) -> None:
    """:raises Refused: 400, the file may not lie here under this name."""
    with local_file(service, sha256, header_only=path.lower().endswith(".safetensors")) as file:
        pool_of(service.settings.limits).weight(file, path)


@contextmanager
def local_file(service: Service, sha256: str, header_only: bool) -> Iterator[str]:
    """A blob as a file: its own, where blobs are files; else a copy.

    :param header_only: Of a safetensors file, whose tensors nobody checks: a copy has a hole in their place.
    """
    place = getattr(service.blobs, "place", None)
    if place is not None:
        yield str(place(sha256))
        return
    folder = service.settings.root / "checked"
    folder.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            stop = None
            if header_only:
                length = int.from_bytes(b"".join(service.blobs.read(sha256, 0, 8)), "little")
                stop = 8 + min(length, MAX_HEADER) + 1
            for block in service.blobs.read(sha256, 0, stop):
                file.write(block)
            size = service.blobs.size(sha256)
            if header_only and size is not None:
                file.truncate(size)
        yield name
    finally:
        Path(name).unlink()
