"""Which new names need somebody's consent: those an operator prohibits, and those one slip of the finger from a project
that people install.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from packaging.utils import canonicalize_name
from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from cogen_registry.admission.looks import PREFIX, look
from cogen_registry.database.tables import (
    Consent,
    Downloads,
    Evaluation,
    Expert,
    Ingredient,
    Prohibited,
    Project,
    Publisher,
    Release,
)
from cogen_registry.errors import Refused

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"
#: Names that one statement asks for.
_BATCH = 500
Key = TypeVar("Key", int, str)


def check_new(session: Session, kind: str, name: str, publisher: int) -> None:
    """May this publisher take a name that nobody has?

    :param kind: "project" or "expert", for the message.
    :raises Refused: 403, it is prohibited, or needs the operator's consent.
    """
    if consented(session, name, publisher):
        return
    check_prohibited(session, name)
    near = next(iter(close_projects(session, name, publisher)), None)
    if near is not None:
        who = session.scalar(select(Publisher.name).where(Publisher.id == publisher))
        raise Refused(
            403,
            f"the {kind} {name} is one character from {near}, which people install",
            hint=f"choose another name, or ask the operator: cogen-registry names consent {name} {who}",
        )


def consented(session: Session, name: str, publisher: int) -> bool:
    return session.get(Consent, (str(canonicalize_name(name)), publisher)) is not None


def check_prohibited(session: Session, name: str) -> None:
    """:raises Refused: 403, a pattern of the operator's fits the name, with its prefix or without, or its look."""
    short = str(canonicalize_name(name)).removeprefix(PREFIX)
    forms = {str(canonicalize_name(name)), short, look(short)}
    for rule in session.scalars(select(Prohibited).order_by(Prohibited.pattern)):
        patterns = (rule.pattern, folded(rule.pattern))
        if any(fits(pattern, form) for pattern in patterns for form in forms):
            raise Refused(403, f"{name} is not given: {rule.reason}", hint="choose another name, or ask the operator")


def fits(pattern: str, name: str) -> bool:
    """Does the whole name fit? ``*`` stands for any text, ``?`` for one character."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", pattern))
    return re.fullmatch("".join(parts), name) is not None


def folded(pattern: str) -> str:
    """:func:`look` of what stands between the wildcards."""
    return "".join(part if part in ("*", "?") else look(part) for part in re.split(r"([*?])", pattern))


def close_projects(session: Session, name: str, publisher: int) -> Iterator[str]:
    """Projects of others that people use, whose name or look, or an expert's id of theirs, is one edit away.

    One edit: a character more, less or another one, or two neighbours that changed places (Damerau, Levenshtein). All
    names that are so close are asked for by the index: it costs the same whether there are ten projects or a million.
    """
    short = str(canonicalize_name(name)).removeprefix(PREFIX)
    names = edits(short)
    looks = edits(look(short)) | {look(short)}
    found: set[int] = set()
    for part in _parts(sorted(names)):
        found.update(session.scalars(select(Project.id).where(Project.name.in_([PREFIX + one for one in part]))))
        by_expert = select(Release.project_id).join(Expert, Expert.release_id == Release.id)
        found.update(session.scalars(by_expert.where(Expert.expert.in_(part))))
    for part in _parts(sorted(looks)):
        found.update(session.scalars(select(Project.id).where(Project.look.in_(part))))
    for ids in _parts(sorted(found)):
        wanted = select(Project.name).where(Project.id.in_(ids), Project.publisher_id != publisher, used())
        yield from session.scalars(wanted.order_by(Project.name))


def used() -> ColumnElement[bool]:
    """Condition on a project: it was downloaded, or stands in a composite, or others measured it."""
    of_it = (Expert.release_id == Release.id) & (Release.project_id == Project.id)
    return or_(
        exists().where(Downloads.project_id == Project.id, Downloads.number > 0),
        exists().where(Ingredient.expert_id == Expert.id, of_it),
        exists().where(Evaluation.expert_id == Expert.id, Evaluation.publisher_id != Project.publisher_id, of_it),
    )


def edits(name: str) -> set[str]:
    """Every name that is exactly one edit away, but for the empty one."""
    pairs = [(name[:place], name[place:]) for place in range(len(name) + 1)]
    found = {left + right[1:] for left, right in pairs if right}
    found |= {left + right[1] + right[0] + right[2:] for left, right in pairs if len(right) > 1}
    found |= {left + letter + right[1:] for left, right in pairs if right for letter in _LETTERS}
    found |= {left + letter + right for left, right in pairs for letter in _LETTERS}
    return found - {name, ""}


def _parts(values: list[Key]) -> Iterator[list[Key]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def checked_pattern(pattern: str) -> str:
    """As it is kept.

    :raises Refused: 400, it is not a pattern, or fits everything.
    """
    normal = re.sub(r"\*+", "*", pattern.strip().lower().replace("_", "-").replace(".", "-"))
    if not re.fullmatch(r"[a-z0-9*?-]{1,100}", normal) or not re.search(r"[a-z0-9]", normal) or normal.count("*") > 4:
        raise Refused(
            400, f"{pattern!r} is not a pattern of names", hint="letters, digits, dashes, * and ?, such as *hospital*"
        )
    return normal
