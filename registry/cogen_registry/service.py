"""One open registry: what every part of the service works on."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import delete, exists, select

from cogen.locks import ProcessLock
from cogen_registry.audit.removals import shown
from cogen_registry.blobs.leases import Leases
from cogen_registry.blobs.store import BlobStore
from cogen_registry.components import Components
from cogen_registry.database import feed
from cogen_registry.database.sessions import Sessions, connect, migrate
from cogen_registry.database.tables import Entry, Evaluation, Possession, Release, Xorb, now
from cogen_registry.errors import Refused
from cogen_registry.metadata import attach
from cogen_registry.metadata.signer import Signer
from cogen_registry.news import Follower, News
from cogen_registry.replicas.leader import Duty, Leader
from cogen_registry.replicas.leases import SharedLeases
from cogen_registry.replicas.process import Alive, bury, give_up, void
from cogen_registry.settings import Settings

#: Every column that names a blob.
REFERENCES = (
    Release.sha256,
    Release.metadata_sha256,
    Entry.sha256,
    Possession.sha256,
    Evaluation.evidence,
    Xorb.sha256,
)
_log = logging.getLogger(__name__)


@dataclass
class Service:
    """One open registry.

    Whatever changes what can be seen says so twice: :meth:`change` within the transaction, so that every process hears
    of it, and :meth:`changed` after it, so that this one has seen it before it answers.
    """

    settings: Settings
    sessions: Sessions
    blobs: BlobStore
    components: Components = field(default_factory=Components)
    alive: Alive | None = None
    #: Signs what is said of projects; ``None``: this registry has no signed metadata.
    signer: Signer | None = None
    _lock: ProcessLock | None = None

    def __post_init__(self) -> None:
        self.news = News(self.sessions)
        self.leader = Leader(self.sessions)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Lock the root, bring the database up to date, and remove what a killed process left.

        :raises Refused: 409, another process serves this root, or this database with other blobs.
        """
        settings.root.mkdir(parents=True, exist_ok=True)
        lock = ProcessLock(settings.root / ".lock")
        if not lock.acquire(wait=False):
            raise Refused(
                409,
                f"{settings.root} is served by another process",
                hint="stop it first, or choose another --root; several at once need PostgreSQL and an object store",
            )
        engine = connect(settings.database_url, settings.lock_seconds)
        try:
            migrate(engine)
            sessions = Sessions(engine)
            signer = attach.attach(sessions, settings.keys_folder)
            alive = Alive(sessions, _place(settings), settings.alive_seconds) if sessions.postgresql else None
            leases = SharedLeases(alive) if alive is not None else None
            service = cls(settings, sessions, open_blobs(settings, leases), alive=alive, signer=signer, _lock=lock)
            service._begin()
        except BaseException:
            engine.dispose()
            lock.release()
            raise
        return service

    def _begin(self) -> None:
        if self.alive is None:
            self.recover()
        else:
            self.blobs.recover()
        seconds = self.settings.alive_seconds
        self.leader.duties += [
            Duty(self.bury, seconds / 4, first=seconds),  # a database that was away: everybody may say that it lives
            Duty(self.tidy, self.settings.tidy_seconds, first=seconds if self.alive else self.settings.tidy_seconds),
        ]
        self.news.start()
        self.leader.start()

    def close(self) -> None:
        self.leader.close()
        self.news.close()
        if self.alive is not None:
            self.alive.close()
        self.sessions.engine.dispose()
        if self._lock is not None:
            self._lock.release()

    # ---- what changes ----------------------------------------------------------------------------

    change = staticmethod(feed.change)

    @property
    def serial(self) -> int:
        """How many changes there were, of all processes, that this one has seen."""
        return self.news.serial

    def changed(self) -> None:
        """After a transaction: this process sees what it changed. Who didn't say what, has everything read again."""
        if not self.sessions.recorded():
            with self.sessions.write() as session:
                feed.change(session, *feed.ALL)
            self.sessions.recorded()
        self.news.catch_up()

    def follow(self, call: Follower, rank: int = 0) -> None:
        """Hand every change to ``call``; see :mod:`cogen_registry.news`."""
        self.news.follow(call, rank)

    # ---- blobs that nothing needs ----------------------------------------------------------------

    def recover(self) -> None:
        """What a start does where nobody else is at work: remove also what was staged here."""
        self.blobs.recover()
        self.tidy()

    def tidy(self) -> None:
        """Remove uploads that no commit named in time, blobs that nothing refers to, and changes that all have read."""
        self.blobs.tidy()
        old = now() - datetime.timedelta(seconds=self.settings.limits.pending)
        with self.sessions.write() as session:
            session.execute(
                delete(Possession).where(
                    Possession.created < old,
                    Possession.sha256.not_in(select(Entry.sha256)),
                    shown("repository", Possession.repository_id),  # what was taken down may be under a legal hold
                )
            )
            session.execute(delete(Xorb).where(Xorb.created < old))
            feed.trim(session)
        kept: set[str] = set()
        with self.sessions.read() as session:
            for column in REFERENCES:
                kept.update(session.scalars(select(column).distinct()))
        for name in list(self.blobs.names()):
            if name not in kept:  # as it was a moment ago: it is looked at again, where nobody else can
                self.discard(name)

    def bury(self) -> None:
        """Take processes for dead that were not heard of for long, and remove what they had begun."""
        if self.alive is None:
            return
        if number := give_up(self.sessions, self.settings.alive_seconds):
            _log.warning("%d process(es) were not heard of for %.0f s", number, self.settings.alive_seconds)
        if names := void(self.sessions):
            for name in names:
                self.discard(name)
            bury(self.sessions, names)
            self.blobs.tidy()

    def discard(self, sha256: str) -> bool:
        """Delete a blob now if nothing refers to it; whether it was."""

        def needed() -> bool:
            with self.sessions.read() as session:
                return any(session.scalar(select(exists().where(column == sha256))) for column in REFERENCES)

        return self.blobs.discard(sha256, needed)


def _place(settings: Settings) -> str:
    """Where blobs are, in words that differ where the place does."""
    import socket

    return settings.blobs or f"{(settings.root / 'blobs').resolve()} on {socket.gethostname()}"


def open_blobs(settings: Settings, leases: Leases | None = None) -> BlobStore:
    """The store that the settings name."""
    if settings.blobs is None:
        from cogen_registry.blobs.disk import DiskStore

        return DiskStore(settings.root / "blobs", leases)
    from cogen_registry.blobs.s3 import S3Store

    return S3Store(settings.blobs, settings.root / "staged", leases)
