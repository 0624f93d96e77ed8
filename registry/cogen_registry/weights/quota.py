"""How much a publisher stores, and what of it is only waiting for a commit."""

from __future__ import annotations

import datetime
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, delete, exists, select
from sqlalchemy.exc import IntegrityError

from cogen_registry.admission.quota import check_total, limits_of
from cogen_registry.audit.removals import shown
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Entry, Possession, Repository, now
from cogen_registry.service import Service
from cogen_registry.weights.answers import hub_error


def check_file(service: Service, own: Mapping[str, float], size: int) -> None:
    """:raises Refused: 413, one file of weights is too large for a publisher that has these limits of its own."""
    most = limits_of(service.settings.limits, own).weight
    if size > most:
        raise hub_error(413, f"a file of {size:,} bytes is larger than {most:,}", "split it into shards")


class Reservations:
    """Bytes that are on their way in: many uploads at once can't pass a limit that each alone keeps."""

    def __init__(self) -> None:
        self._lock, self._coming = threading.Lock(), defaultdict[int, int](int)

    def add(self, service: Service, publisher: int, size: int) -> None:
        """:raises Refused: 413; then nothing was added."""
        with self._lock:
            with service.sessions.read() as session:
                check_total(session, service.settings.limits, publisher, self._coming[publisher] + size)
            self._coming[publisher] += size

    def remove(self, publisher: int, size: int) -> None:
        with self._lock:
            self._coming[publisher] -= size


def possess(
    service: Service, session: Session, repository: Repository, sha256: str, size: int, *, counted: bool = False
) -> None:
    """The publisher proved that it has these bytes: commits of this repository may name them.

    :param counted: whoever calls this has asked whether there is room already, for many at once.
    :raises Refused: 413, they are one too many.
    """
    known = session.get(Possession, (repository.id, sha256))
    if known is None:
        if not counted:
            check_total(session, service.settings.limits, repository.publisher_id, size)
        try:
            with session.begin_nested():
                session.add(Possession(repository_id=repository.id, sha256=sha256, size=size))
            return
        except IntegrityError:  # the same bytes twice at once, on a database where writers don't wait for each other
            known = session.get_one(Possession, (repository.id, sha256))
    known.created = now()  # it has its whole time again


def sweep(service: Service, publisher: int) -> None:
    """Forget uploads of a publisher that no commit named in time; they count no longer."""
    old = now() - datetime.timedelta(seconds=service.settings.limits.pending)
    with service.sessions.write() as session:
        pending = session.execute(
            select(Possession.repository_id, Possession.sha256)
            .join(Repository, Repository.id == Possession.repository_id)
            .where(Repository.publisher_id == publisher, Possession.created < old, ~_named())
            .where(shown("repository", Repository.id))  # what was taken down may be under a legal hold
        ).all()
        for repository, sha256 in pending:
            session.execute(delete(Possession).filter_by(repository_id=repository, sha256=sha256))
    for _, sha256 in pending:
        service.discard(sha256)


def forget(service: Service, repository: int, names: list[str]) -> None:
    """Remove uploads that were refused, unless a commit of the repository holds the same bytes."""
    with service.sessions.write() as session:
        session.execute(
            delete(Possession).where(Possession.repository_id == repository, Possession.sha256.in_(names), ~_named())
        )
    for sha256 in names:
        service.discard(sha256)


def _named() -> Any:
    return exists().where(
        and_(
            Entry.sha256 == Possession.sha256,
            Entry.commit_id == Commit.id,
            Commit.repository_id == Possession.repository_id,
        )
    )
