"""The limits of one publisher, and what it stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Possession, Project, Publisher, Release, Repository
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits


def limits_of(limits: Limits, own: Mapping[str, Any]) -> Limits:
    """The service's limits with those that a publisher has of its own."""
    return limits.model_copy(update={name: value for name, value in own.items() if name in Limits.model_fields})


def stored(session: Session, publisher: int) -> int:
    """Bytes of a publisher: its wheels, and each blob of its weights once."""
    blobs = (
        select(Possession.sha256, func.max(Possession.size).label("size"))
        .join(Repository, Repository.id == Possession.repository_id)
        .where(Repository.publisher_id == publisher)
        .group_by(Possession.sha256)
        .subquery()
    )
    wheels = select(func.coalesce(func.sum(Release.size), 0)).join(Project).where(Project.publisher_id == publisher)
    return int(session.scalar(select(func.coalesce(func.sum(blobs.c.size), 0))) or 0) + int(session.scalar(wheels) or 0)


def check_total(session: Session, limits: Limits, publisher: int, more: int) -> None:
    """:raises Refused: 413, the publisher would store more than it may. ``limits``: of the service."""
    own = session.scalar(select(Publisher.limits).where(Publisher.id == publisher)) or {}
    most, have = limits_of(limits, own).publisher, stored(session, publisher)
    if have + more > most:
        raise Refused(
            413, f"{more:,} bytes more than the {have:,} stored are beyond the limit of {most:,}",
            hint="ask the registry's operator for more room",
        )  # fmt: skip
