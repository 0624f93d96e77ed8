"""Which release of a project lists and search show."""

from __future__ import annotations

from packaging.version import Version
from sqlalchemy import select, update

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Expert, Release


def refresh(session: Session, project: int) -> None:
    """Experts of the newest released version that is not yanked are current: final before pre-releases."""
    session.flush()
    columns = (Release.id, Release.version, Release.state, Release.yanked)
    releases = session.execute(select(*columns).where(Release.project_id == project)).all()
    visible = [one for one in releases if one.state == "released" and one.yanked is None]
    newest = max(visible, key=lambda one: rank(one.version), default=None)
    for one in releases:  # one by one: a subquery makes SQLite walk through all current experts there are
        is_newest = newest is not None and one.id == newest.id
        session.execute(
            update(Expert)
            .where(Expert.release_id == one.id, Expert.current.is_not(is_newest))
            .values(current=is_newest)
        )


def rank(version: str) -> tuple[bool, Version]:
    """Sorts versions: pre-releases below all final ones."""
    found = Version(version)
    return not found.is_prerelease, found
