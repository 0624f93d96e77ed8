"""Which release of a project lists and search show."""

from __future__ import annotations

from packaging.version import Version
from sqlalchemy import select, update

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Expert, Release


def refresh(session: Session, project: int) -> None:
    """Experts of the newest released version that is not yanked are current: final before pre-releases."""
    session.flush()
    releases = select(Release.id, Release.version).where(Release.project_id == project)
    visible = session.execute(releases.where(Release.state == "released", Release.yanked.is_(None))).all()
    newest = max(visible, key=lambda one: rank(one[1]), default=None)
    ids = select(Release.id).where(Release.project_id == project)
    session.execute(update(Expert).where(Expert.release_id.in_(ids), Expert.current).values(current=False))
    if newest is not None:
        session.execute(update(Expert).where(Expert.release_id == newest[0]).values(current=True))


def rank(version: str) -> tuple[bool, Version]:
    """Sorts versions: pre-releases below all final ones."""
    found = Version(version)
    return not found.is_prerelease, found
