"""From a row that a take-down hides or shows again to what the feed of changes says of it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen_registry.database import feed
from cogen_registry.database.tables import (
    Composite,
    Evaluation,
    Expert,
    Ingredient,
    Project,
    Publisher,
    Release,
    Repository,
)


def tell(session: Session, kind: str, row: int) -> None:
    """Say, in the transaction that hides or shows it, which pages and lists are others now.

    :param kind: as in :class:`~cogen_registry.database.tables.Removal`.
    """
    if kind in ("release", "project", "expert"):
        project = session.get_one(Release, row).project_id if kind == "release" else row
        name = session.get_one(Project, project).name
        feed.change(session, "project", name)
        feed.change(session, "withdrawn", name)
        feed.change(session, "quarantine", name)  # what comes back may have to wait for its weights
    elif kind == "repository":
        feed.change(session, "repository", session.get_one(Repository, row).key)
    elif kind == "publisher":
        feed.change(session, "publisher", session.get_one(Publisher, row).name)
    elif kind == "composite":
        tell_composite(session, row)
    elif kind == "evaluation":
        found = session.get(Evaluation, row)
        if found is not None:
            feed.change(session, "expert", session.get_one(Expert, found.expert_id).expert)


def tell_composite(session: Session, row: int) -> None:
    """Its own page, and those of the experts that it was made from."""
    composite = session.get_one(Composite, row)
    feed.change(session, "composite", f"{composite.publisher.name}/{composite.name}")
    for expert in session.scalars(select(Ingredient.expert).where(Ingredient.composite_id == row)):
        feed.change(session, "expert", expert)
