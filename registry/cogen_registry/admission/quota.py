"""The limits of one publisher, and everything that it stores: bytes of files, and lines of the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Select, func, select

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import (
    Commit,
    Composite,
    Evaluation,
    Expert,
    Ingredient,
    Key,
    Possession,
    Project,
    Publisher,
    Reference,
    Release,
    Repository,
)
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits

#: Bytes that a line of a commit's tree takes in the database, beside its path.
LINE = 160
#: Members of a repository's tree, for each that one commit may change.
TREE = 4
_MORE = "ask the registry's operator for more room"


def limits_of(limits: Limits, own: Mapping[str, float]) -> Limits:
    """The service's limits with those that a publisher has of its own."""
    return limits.model_copy(update={name: value for name, value in own.items() if name in Limits.model_fields})


def _sums(publisher: int) -> Iterator[tuple[str, Select[Any]]]:
    """(what it is, statement of its bytes)."""
    weights = (
        select(Possession.sha256, func.max(Possession.size).label("size"))
        .join(Repository, Repository.id == Possession.repository_id)
        .where(Repository.publisher_id == publisher)
        .group_by(Possession.sha256)
        .subquery()
    )
    releases = select(func.coalesce(func.sum(Release.size + Release.metadata_size), 0)).join(Project)
    commits = select(func.coalesce(func.sum(Commit.size), 0)).join(Repository)
    yield "wheels", releases.where(Project.publisher_id == publisher)
    yield "weights", select(func.coalesce(func.sum(weights.c.size), 0))
    yield "commits", commits.where(Repository.publisher_id == publisher)
    for what, table in (("composites", Composite), ("evidence", Evaluation)):
        yield what, select(func.coalesce(func.sum(table.size), 0)).where(table.publisher_id == publisher)


def usage(session: Session, publisher: int) -> dict[str, int]:
    """Bytes of a publisher: wheels with their METADATA (those in quarantine, too), each blob of its weights once
    (uploads that no commit names yet, too), trees of commits, composites and evidence."""
    return {what: int(session.scalar(statement) or 0) for what, statement in _sums(publisher)}


def stored(session: Session, publisher: int) -> int:
    """Bytes of a publisher, all together."""
    return sum(usage(session, publisher).values())


def rows(session: Session, publisher: int) -> int:
    """Lines of the database that are a publisher's; a file counts in each commit that has it."""
    owned = [select(func.count()).where(table.publisher_id == publisher) for table in (Composite, Evaluation, Key)]
    mine = Repository.publisher_id == publisher
    owned += [
        select(func.count(Commit.id) + func.coalesce(func.sum(Commit.files), 0)).join(Repository).where(mine),
        select(func.count(Reference.id)).join(Repository).where(mine),
        select(func.count()).select_from(Possession).join(Repository).where(mine),
        select(func.count(Release.id)).join(Project).where(Project.publisher_id == publisher),
        select(func.count(Expert.id)).join(Release).join(Project).where(Project.publisher_id == publisher),
        select(func.count()).select_from(Ingredient).join(Composite).where(Composite.publisher_id == publisher),
    ]
    return sum(int(session.scalar(statement) or 0) for statement in owned)


def check_total(session: Session, limits: Limits, publisher: int, more: int, lines: int = 1) -> None:
    """:raises Refused: 413, the publisher would store more than it may. ``limits``: of the service.

    :param more: bytes; :param lines: of the database.
    """
    check_bytes(_own(session, limits, publisher).publisher, stored(session, publisher), more)
    check_rows(session, limits, publisher, lines)


def check_bytes(most: int, have: int, more: int) -> None:
    """:raises Refused: 413"""
    if have + more > most:
        raise Refused(413, f"{more:,} bytes more than the {have:,} stored are beyond the limit of {most:,}", hint=_MORE)


def check_rows(session: Session, limits: Limits, publisher: int, lines: int) -> None:
    """:raises Refused: 413, the publisher would have more lines in the database than it may."""
    most, have = _own(session, limits, publisher).rows, rows(session, publisher)
    if have + lines > most:
        raise Refused(
            413,
            f"{lines:,} entries more than the {have:,} of yours are beyond the limit of {most:,}",
            hint=f"fewer files in fewer commits; or {_MORE}",
        )


def check_projects(session: Session, limits: Limits, publisher: int) -> None:
    """Before another project or repository is made.

    :raises Refused: 413
    """
    most = _own(session, limits, publisher).projects
    for table, what in ((Project, "projects"), (Repository, "repositories")):
        if (session.scalar(select(func.count()).where(table.publisher_id == publisher)) or 0) >= most:
            raise Refused(413, f"you have {most:,} {what} already", hint=_MORE)


def _own(session: Session, limits: Limits, publisher: int) -> Limits:
    return limits_of(limits, session.scalar(select(Publisher.limits).where(Publisher.id == publisher)) or {})
