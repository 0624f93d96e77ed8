"""Names: one spelling each, no look-alikes, and nobody else's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, literal_column, select

from cogen.wheels import names
from cogen_registry.admission.looks import ALIKE, PREFIX, look
from cogen_registry.admission.rules import check_new
from cogen_registry.audit import removals
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Expert, Project, Publisher, Release
from cogen_registry.errors import Refused, translated

#: First parts of paths that are the service's own; no publisher is called so.
RESERVED = frozenset(
    {
        "api",
        "simple",
        "files",
        "legacy",
        "lfs",
        "xet",
        "experts",
        "compare",
        "publishers",
        "composites",
        "static",
        "docs",
        "report",
        "integrity",
        "openapi.json",
        "healthz",
        "tuf",
        "login",
        "cogen",
        "admin",
        "models",
        "datasets",
        "spaces",
    }
)


def project_name(name: str) -> str:
    """As PEP 503 normalises it.

    :raises Refused: 400, it is no name of a plugin.
    """
    with translated():
        return names.project_name(name)


def claim_project(session: Session, publisher: int, name: str) -> Project:
    """The project of this name, made if it is new: a name belongs to whoever uses it first.

    :raises Refused: 403, it is somebody else's, looks like a name that is there, or needs the operator's consent.
    """
    # Both rows are held until the end: a take-down of another process waits, or is seen here.
    owner = session.get_one(Publisher, publisher, with_for_update={"read": True})
    removals.check(session, "publisher", publisher, owner.name)
    project = session.scalar(select(Project).where(Project.name == name).with_for_update())
    if project is not None:
        if project.publisher_id != publisher:
            raise Refused(403, f"{name} belongs to another publisher", hint="choose another name")
        removals.check(session, "project", project.id, name)
        return project
    if (alike := session.scalar(select(Project.name).where(Project.look == look(name)))) is not None:
        raise Refused(403, f"{name} looks like {alike}, which is there already", hint="choose another name")
    check_new(session, "project", name, publisher)
    project = Project(name=name, look=look(name), publisher_id=publisher)
    session.add(project)
    session.flush()
    return project


def claim_expert(session: Session, project: Project, expert: str) -> None:
    """An expert's id belongs to the project that published it first.

    :raises Refused: 403, it is another project's, looks like one of those, or needs the operator's consent.
    """
    if expert.startswith(PREFIX):
        raise Refused(400, f"the expert's id {expert} begins like a plugin's name", hint="leave the beginning out")
    removals.check(session, "expert", project.id, f"the expert {expert}", expert)
    own = select(Expert.id).join(Release).where(Expert.expert == expert, Release.project_id == project.id).limit(1)
    if session.scalar(own) is not None:  # all ids are read for a new one alone
        return
    taken = session.execute(
        select(Expert.expert, Project.name)
        .join(Release, Expert.release_id == Release.id)
        .join(Project, Release.project_id == Project.id)
        .where(_look_of(Expert.expert) == look(expert), Project.id != project.id)
        .limit(1)
    ).first()
    if taken is not None:
        how = "belongs to" if taken.expert == expert else f"looks like {taken.expert} of"
        raise Refused(403, f"the expert's id {expert} {how} {taken.name}", hint="choose another id")
    if project.name != PREFIX + expert:  # that one was looked at as the project's name
        check_new(session, "expert", expert, project.publisher_id)


def _look_of(column: Any) -> Any:
    """:func:`look` of an expert's id, in SQL; as the index of migration 0003 has it, or all ids would be read."""
    for one, other in ALIKE:
        column = func.replace(column, literal_column(f"'{one}'"), literal_column(f"'{other}'"))
    return column
