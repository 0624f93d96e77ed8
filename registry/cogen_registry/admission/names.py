"""Names: one spelling each, no look-alikes, and nobody else's."""

from __future__ import annotations

import re
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import func, select

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Expert, Project, Release
from cogen_registry.errors import Refused

#: First parts of paths that are the service's own; no publisher is called so.
RESERVED = frozenset(
    {"api", "simple", "files", "legacy", "lfs", "xet", "experts", "compare", "publishers", "composites", "static",
     "docs", "openapi.json", "healthz", "tuf", "login", "cogen", "admin", "models", "datasets", "spaces"}
)  # fmt: skip
#: Of distributions. Only plugins live here, so that a registry never shadows a package of PyPI.
PREFIX = "cogen-plugin-"
#: Longer ones first; no right side stands on the left, so the order of the single characters doesn't matter.
_ALIKE = (
    ("-", ""), ("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"), ("2", "z"), ("8", "b"),
    ("9", "g"), ("6", "b"), ("v", "u"),
)  # fmt: skip


def project_name(name: str) -> str:
    """As PEP 503 normalises it.

    :raises Refused: 400, it is no name of a plugin.
    """
    normal = canonicalize_name(name)
    if len(normal) > 100 or not re.fullmatch(PREFIX + r"[a-z0-9]+(-[a-z0-9]+)*", normal):
        raise Refused(
            400, f"{name!r} is not a plugin's name", hint=f"call it {PREFIX}NAME: this registry holds nothing else"
        )
    return str(normal)


def look(name: str) -> str:
    """What names that look alike have in common: 0 and o, 1 and i and l, rn and m, vv and w, and no dashes."""
    found = canonicalize_name(name).removeprefix(PREFIX)
    for one, other in _ALIKE:
        found = found.replace(one, other)
    return found


def package_of(project: str) -> str:
    """The package that a plugin installs. Others of the same plugin are called ``….__MORE``: two dashes stand in no
    project's name, so nobody else's plugin can install anything there.
    """
    return project.replace("-", "_")


def check_package(project: str, package: str) -> None:
    """:raises Refused: 400, the package may be somebody else's, such as ``torch``."""
    own = package_of(project)
    if package != own and not re.fullmatch(own + r"__[a-z0-9_]+", package):
        raise Refused(
            400, f"the package {package!r} is not {project}'s own", hint=f"call it {own}, a second one {own}__MORE"
        )


def claim_project(session: Session, publisher: int, name: str) -> Project:
    """The project of this name, made if it is new: a name belongs to whoever uses it first.

    :raises Refused: 403, it is somebody else's, or looks like a name that is there.
    """
    project = session.scalar(select(Project).where(Project.name == name))
    if project is not None:
        if project.publisher_id != publisher:
            raise Refused(403, f"{name} belongs to another publisher", hint="choose another name")
        return project
    if (alike := session.scalar(select(Project.name).where(Project.look == look(name)))) is not None:
        raise Refused(403, f"{name} looks like {alike}, which is there already", hint="choose another name")
    project = Project(name=name, look=look(name), publisher_id=publisher)
    session.add(project)
    session.flush()
    return project


def claim_expert(session: Session, project: Project, expert: str) -> None:
    """An expert's id belongs to the project that published it first.

    :raises Refused: 403, it is another project's, or looks like one of those.
    """
    if expert.startswith(PREFIX):
        raise Refused(400, f"the expert's id {expert} begins like a plugin's name", hint="leave the beginning out")
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


def _look_of(column: Any) -> Any:
    """:func:`look` of an expert's id, in SQL."""
    for one, other in _ALIKE:
        column = func.replace(column, one, other)
    return column
