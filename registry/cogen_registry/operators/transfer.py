"""A project goes from one publisher to another; what was published before stays as it was signed."""

from __future__ import annotations

from packaging.utils import canonicalize_name
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cogen_registry.audit import log, removals
from cogen_registry.database import feed
from cogen_registry.database.tables import Project, Publisher, TrustedPublisher
from cogen_registry.errors import Refused, not_found


def transfer(session: Session, who: log.Actor, name: str, new: str, reason: str = "") -> tuple[str, str]:
    """The project and its former publisher. Releases, their signatures and the statements in them stay the old one's.

    :raises Refused: 404, 409
    """
    project = project_named(session, name)
    publisher = session.scalar(select(Publisher).where(Publisher.name == new))
    if publisher is None:
        raise not_found(f"publisher {new!r}", f"cogen-registry publisher add {new}")
    before = project.publisher.name
    if project.publisher_id == publisher.id:
        raise Refused(409, f"{project.name} is {new}'s already", hint="nothing to do")
    removals.check(session, "publisher", publisher.id, f"publisher {new}")
    removals.check(session, "publisher", project.publisher_id, f"publisher {before}")
    project.publisher_id = publisher.id
    session.execute(delete(TrustedPublisher).where(TrustedPublisher.project == project.name))
    feed.change(session, "project", project.name)
    for side in (before, new):
        feed.change(session, "publisher", side)
    log.record(session, who, "project.transfer", project.name, **{"from": before, "to": new}, reason=reason or None)
    # Once more under the name of each side: whoever looks up one team finds what it lost or got.
    for side in (before, new):
        log.record(session, who, "publisher.transfer", side, project=project.name, **{"from": before, "to": new})
    return project.name, before


def project_named(session: Session, name: str) -> Project:
    """:raises Refused: 404"""
    found = session.scalar(select(Project).where(Project.name == str(canonicalize_name(name))))
    if found is None:
        raise not_found(f"project {name!r}", "`/simple/` lists them; it is written like cogen-plugin-power")
    return found
