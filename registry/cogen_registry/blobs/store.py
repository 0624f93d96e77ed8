"""Content-addressed bytes. A blob's name is the lower-case hex SHA-256 of what it holds; it never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, Self

#: Bytes that are read at once.
BLOCK = 1 << 20


class Staged(Protocol):
    """Bytes on their way in: a context manager; what is not kept by then is gone."""

    size: int

    def write(self, data: bytes) -> None: ...

    @property
    def sha256(self) -> str:
        """Of what was written so far."""

    def read(self) -> Iterator[bytes]:
        """What was written so far, in blocks."""

    def path(self) -> str:
        """A local file that holds what was written so far, for those who need to seek (zip archives, safetensors)."""

    def keep(self) -> str:
        """Make it a blob, synced to the disk, and return its name. The same bytes again are no error."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class BlobStore(Protocol):
    """What a registry needs of a place for bytes."""

    def stage(self) -> Staged: ...

    def size(self, sha256: str) -> int | None:
        """``None``: there is no such blob."""

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes ``start`` to ``stop`` (exclusive), in blocks.

        :raises Refused: 404, before the first block.
        """

    def delete(self, sha256: str) -> None:
        """No error if it is not there."""

    def release(self, sha256: str) -> None:
        """Called after :meth:`Staged.keep`, once a transaction names the blob or failed: clean-ups may have it.

        Who doesn't call it is safe for the grace of :mod:`cogen_registry.blobs.leases`.
        """

    def discard(self, sha256: str, needed: Callable[[], bool]) -> bool:
        """Delete it while the service runs, unless somebody just kept it or ``needed()``; whether it was."""

    def names(self) -> Iterator[str]: ...

    def recover(self) -> None:
        """Remove what a killed process staged on this machine; called before anything else."""

    def tidy(self) -> None:
        """Remove what processes that are dead left half-done in the store; others may be at work."""
