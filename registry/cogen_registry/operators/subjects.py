"""From what an operator names to the rows that a take-down hides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Composite, Evaluation, Expert, Project, Publisher, Release, Repository
from cogen_registry.errors import not_found

#: What can be taken down, and how it is written.
KINDS = {
    "release": "cogen-plugin-power==1.0",
    "expert": "power==1.0",
    "repository": "team/power-lora",
    "publisher": "team",
    "composite": "team/city==1",
    "evaluation": "17",
}


@dataclass(frozen=True)
class Row:
    """One row of a table. ``subject``: what the take-down is called by. ``name``: an expert's id."""

    kind: str
    id: int
    subject: str
    name: str = ""


def rows_of(session: Session, kind: str, name: str, version: str | None) -> list[Row]:
    """Everything that has to be hidden with it.

    :param version: as :attr:`Release.same`, or the number of a composite.
    :raises Refused: 404
    """
    finders: Any = {
        "release": _release,
        "expert": _expert,
        "repository": _repository,
        "publisher": _publisher,
        "composite": _composite,
        "evaluation": _evaluation,
    }
    rows = list(finders[kind](session, name, version))
    if not rows:
        subject = f"{kind} {name}" + (f"=={version}" if version else "")
        raise not_found(subject, f"it is written like {KINDS[kind]}")
    return rows


def _release(session: Session, name: str, version: str | None) -> Iterator[Row]:
    """One version; without one, the project itself with all of its versions, those to come with them."""
    normal = str(canonicalize_name(name))
    project = session.scalar(select(Project).where(Project.name == normal).with_for_update())
    if project is None:
        return
    if version is None:
        yield Row("project", project.id, normal)
    yield from _releases(session, normal, Release.project_id == project.id, version)


def _releases(session: Session, subject: str, which: Any, version: str | None) -> Iterator[Row]:
    wanted = select(Release.id).where(which).order_by(Release.id)
    if version is not None:
        wanted = wanted.where(Release.same == version)
    for row in session.scalars(wanted):
        yield Row("release", row, subject)


def _expert(session: Session, name: str, version: str | None) -> Iterator[Row]:
    """The releases that hold it: a wheel is served whole or not at all. Without a version, its id as well."""
    holding = Release.id.in_(select(Expert.release_id).where(Expert.expert == name))
    projects = select(Release.project_id).where(holding)
    session.scalars(select(Project.id).where(Project.id.in_(projects)).order_by(Project.id).with_for_update()).all()
    found = session.scalars(select(Release).where(holding)).all()
    if not found:
        return
    if version is None:
        for project in sorted({one.project_id for one in found}):
            yield Row("expert", project, name, name)
    yield from _releases(session, name, Release.id.in_([one.id for one in found]), version)


def _repository(session: Session, name: str, version: str | None) -> Iterator[Row]:
    for row in session.scalars(select(Repository.id).where(Repository.key == name.lower())):
        yield Row("repository", row, name.lower())


def _publisher(session: Session, name: str, version: str | None) -> Iterator[Row]:
    """Itself, and all that it published: projects, releases, repositories, composites, measurements."""
    publisher = session.scalar(select(Publisher).where(Publisher.name == name).with_for_update())
    if publisher is None:
        return
    yield Row("publisher", publisher.id, name)
    projects = session.scalars(select(Project.id).where(Project.publisher_id == publisher.id)).all()
    for project in projects:
        yield Row("project", project, name)
    # Also what it published in projects that are others' by now.
    published = Release.id.in_(select(Expert.release_id).where(Expert.publisher == name))
    yield from _releases(session, name, Release.project_id.in_(projects) | published, None)
    tables: Any = (("repository", Repository), ("composite", Composite), ("evaluation", Evaluation))
    for kind, table in tables:
        for row in session.scalars(select(table.id).where(table.publisher_id == publisher.id).order_by(table.id)):
            yield Row(kind, row, name)


def _composite(session: Session, name: str, version: str | None) -> Iterator[Row]:
    publisher, _, short = name.partition("/")
    wanted = select(Composite).join(Publisher).where(Publisher.name == publisher, Composite.name == short)
    for row in session.scalars(wanted.order_by(Composite.id)):
        if version in (None, str(row.version)):
            yield Row("composite", row.id, name)


def _evaluation(session: Session, name: str, version: str | None) -> Iterator[Row]:
    if name.isdecimal() and len(name) < 10 and session.get(Evaluation, int(name)) is not None:
        yield Row("evaluation", int(name), name)
