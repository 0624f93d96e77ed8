"""Deleting the bytes of what was taken down. Rows stay, empty, so that names stay taken and the reason can be told.

Blobs are named by ``doomed`` in the transaction that stopped naming them elsewhere; the service deletes them, because
it alone knows which blobs an upload is keeping at this moment. Without a service, the command does it under its lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cogen.locks import ProcessLock
from cogen_registry.database.tables import (
    Attestation,
    Commit,
    Composite,
    Doomed,
    Entry,
    Evaluation,
    Ingredient,
    Possession,
    Publisher,
    Reference,
    Release,
    Tombstone,
)
from cogen_registry.experts import tombstones
from cogen_registry.service import Service


def empty_release(session: Session, row: int) -> None:
    """The wheel, its metadata, manifests and measurements; the file's name stays."""
    release = session.get_one(Release, row)
    experts = [one.id for one in release.experts]
    measured = session.scalars(select(Evaluation.id).where(Evaluation.expert_id.in_(experts))).all()
    for one in measured:
        empty_evaluation(session, one)
    doom(session, (release.sha256, release.metadata_sha256))
    session.execute(update(Ingredient).where(Ingredient.expert_id.in_(experts)).values(expert_id=None))
    session.execute(delete(Attestation).where(Attestation.release_id == row))
    for expert in release.experts:
        expert.title = expert.summary = expert.text = expert.license = expert.architecture = expert.lineage = ""
        expert.spec, expert.vector, expert.base_name, expert.parameters = {}, None, None, 0
        expert.domains, expert.languages = [], []
    release.sha256 = release.metadata_sha256 = release.summary = ""
    release.size, release.requires_python = 0, None
    release.statement = release.bundle = release.key = None


def empty_repository(session: Session, row: int) -> None:
    """Every commit, branch and tag, and all bytes that were sent."""
    commits = select(Commit.id).where(Commit.repository_id == row)
    doom(session, session.scalars(select(Entry.sha256).where(Entry.commit_id.in_(commits)).distinct()).all())
    doom(session, session.scalars(select(Possession.sha256).where(Possession.repository_id == row)).all())
    session.execute(delete(Entry).where(Entry.commit_id.in_(commits)))
    for table in (Commit, Reference, Possession):
        session.execute(delete(table).where(table.repository_id == row))


def empty_composite(session: Session, row: int) -> None:
    """Its lock and card; the number of the version stays."""
    session.execute(delete(Ingredient).where(Ingredient.composite_id == row))
    session.execute(update(Composite).where(Composite.id == row).values(lock={}, card="", title="", size=0))


def empty_evaluation(session: Session, row: int) -> None:
    found = session.get(Evaluation, row)
    if found is not None:
        doom(session, [found.evidence])
        session.delete(found)
        session.merge(Tombstone(kind="evaluation", name=str(row), number=row))


def purge_evaluation(session: Session, row: int) -> None:
    """One that was taken down itself: the same is not kept again, for whatever version it is sent."""
    found = session.get(Evaluation, row)
    if found is not None:
        tombstones.add_content(session, found)
        empty_evaluation(session, row)


def empty_publisher(session: Session, row: int) -> None:
    session.execute(update(Publisher).where(Publisher.id == row).values(title=""))


#: Of what a take-down hides: how its bytes go.
EMPTY = {
    "release": empty_release,
    "repository": empty_repository,
    "composite": empty_composite,
    "evaluation": purge_evaluation,
    "publisher": empty_publisher,
}


def doom(session: Session, names: Iterable[str]) -> None:
    session.flush()
    for name in sorted({name for name in names if name}):
        if session.get(Doomed, name) is None:
            session.add(Doomed(sha256=name))
    session.flush()


def delete_doomed(service: Service) -> int:
    """Delete blobs that nothing names any more; how many. What something else names stays."""
    with service.sessions.read() as session:
        names = session.scalars(select(Doomed.sha256)).all()
    deleted = sum(service.discard(name) for name in names)
    if names:
        with service.sessions.write() as session:
            session.execute(delete(Doomed).where(Doomed.sha256.in_(names)))
    return deleted


def finish(service: Service, seconds: float = 20.0) -> bool:
    """Of a command: wait until the service deleted what is doomed, or do it where no service runs. Is it done?"""
    end = time.monotonic() + seconds
    while _waiting(service):
        if service.sessions.engine.dialect.name == "sqlite" and _alone(service, service.settings.root):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _alone(service: Service, root: Path) -> bool:
    """Delete under the lock that a service of this root would hold; whether nobody held it."""
    lock = ProcessLock(root / ".lock")
    if not lock.acquire(wait=False):
        return False
    try:
        delete_doomed(service)
    finally:
        lock.release()
    return True


def _waiting(service: Service) -> int:
    with service.sessions.read() as session:
        return session.scalar(select(func.count()).select_from(Doomed)) or 0
