"""What every room is handed."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from filelock import FileLock, Timeout
from sqlalchemy import delete, exists, select

from cogen_registry.blobs.store import BlobStore
from cogen_registry.database.sessions import Sessions, connect, migrate
from cogen_registry.database.tables import Entry, Evaluation, Possession, Release, now
from cogen_registry.errors import Refused
from cogen_registry.metadata import attach
from cogen_registry.metadata.signer import Signer
from cogen_registry.settings import Settings

#: Every column that names a blob.
REFERENCES = (Release.sha256, Release.metadata_sha256, Entry.sha256, Possession.sha256, Evaluation.evidence)


@dataclass
class Service:
    """One open registry. ``changed`` is called after every transaction that changes what can be seen."""

    settings: Settings
    sessions: Sessions
    blobs: BlobStore
    #: Counts what became visible or was changed since the start: whatever is kept in memory is as new as this.
    serial: int = 0
    listeners: list[Callable[[], None]] = field(default_factory=list)
    #: What rooms keep for themselves, by room (the search index, the verifier).
    rooms: dict[str, Any] = field(default_factory=dict)
    #: Signs what is said of projects; ``None``: this registry has no signed metadata.
    signer: Signer | None = None
    _lock: Any = None
    _counting: Any = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Lock the root, bring the database up to date, and remove what a killed process left.

        :raises Refused: 409, another process serves this root.
        """
        settings.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(settings.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise Refused(
                409, f"{settings.root} is served by another process", hint="stop it first, or choose another --root"
            ) from None
        engine = connect(settings.database_url)
        migrate(engine)
        sessions = Sessions(engine)
        try:
            signer = attach.attach(sessions, settings.keys_folder)
        except BaseException:
            lock.release()
            raise
        service = cls(settings, sessions, open_blobs(settings), signer=signer, _lock=lock)
        service.recover()
        return service

    def close(self) -> None:
        self.sessions.engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def changed(self) -> None:
        with self._counting:
            self.serial += 1
        for listener in self.listeners:
            listener()

    def recover(self) -> None:
        """Remove staged bytes, uploads that no commit named in time, and blobs that nothing refers to."""
        self.blobs.recover()
        old = now() - datetime.timedelta(seconds=self.settings.limits.pending)
        with self.sessions.write() as session:
            session.execute(
                delete(Possession).where(Possession.created < old, Possession.sha256.not_in(select(Entry.sha256)))
            )
            kept: set[str] = set()
            for column in REFERENCES:
                kept.update(session.scalars(select(column).distinct()))
        for name in list(self.blobs.names()):
            if name not in kept:
                self.blobs.delete(name)

    def discard(self, sha256: str) -> bool:
        """Delete a blob now if nothing refers to it; whether it was."""

        def needed() -> bool:
            with self.sessions.read() as session:
                return any(session.scalar(select(exists().where(column == sha256))) for column in REFERENCES)

        return self.blobs.discard(sha256, needed)


def open_blobs(settings: Settings) -> BlobStore:
    """The store that the settings name."""
    if settings.blobs is None:
        from cogen_registry.blobs.disk import DiskStore

        return DiskStore(settings.root / "blobs")
    from cogen_registry.blobs.s3 import S3Store

    return S3Store(settings.blobs, settings.root / "staged")
