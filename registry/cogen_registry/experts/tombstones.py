"""What publishers deleted themselves: numbers that were given once are never given again.

And what was in an evaluation that was taken down and purged: its row is gone, and the same is not kept again.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cogen_registry.audit import removals
from cogen_registry.database.tables import Evaluation, Tombstone
from cogen_registry.errors import Refused

_CONTENT = "purged evaluation"


def add(session: Session, kind: str, name: str, number: int) -> None:
    session.add(Tombstone(kind=kind, name=name, number=number))


def last(session: Session, kind: str, prefix: str = "") -> int:
    """The highest number that was given to something deleted whose name begins so; 0: none."""
    wanted = select(func.max(Tombstone.number)).where(Tombstone.kind == kind)
    return session.scalar(wanted.where(Tombstone.name.startswith(prefix, autoescape=True))) or 0


def check(session: Session, kind: str, name: str, what: str) -> None:
    """:raises Refused: 410, it was deleted. ``name`` that ends in a slash: any of what begins so."""
    wanted = select(Tombstone.name).where(Tombstone.kind == kind)
    same = Tombstone.name.startswith(name, autoescape=True) if name.endswith("/") else Tombstone.name == name
    if session.scalar(wanted.where(same).limit(1)) is not None:
        raise Refused(410, f"{what} was deleted by its publisher", hint="it does not come back: ask its publisher")


def add_content(session: Session, row: Evaluation) -> None:
    """Of an evaluation that is purged."""
    name = _content(row.publisher_id, row.signed, row.evidence)
    session.merge(Tombstone(kind=_CONTENT, name=name, number=row.id))


def check_content(session: Session, publisher: int, signed: str | None, evidence: str, what: str) -> None:
    """Whether the same was taken down before: as a row that is hidden, or as one that was purged.

    :param signed: digest of what was signed, which is the same in another version's evaluation, too; without one
        ``evidence`` decides.
    :raises Refused: 410 or 451
    """
    same = Evaluation.evidence == evidence if signed is None else Evaluation.signed == signed
    rows = list(session.scalars(select(Evaluation.id).where(Evaluation.publisher_id == publisher, same)))
    name = _content(publisher, signed, evidence)
    purged = session.scalar(select(Tombstone.number).where(Tombstone.kind == _CONTENT, Tombstone.name == name))
    for row in rows if purged is None else [*rows, purged]:
        removals.check(session, "evaluation", row, what)
    if purged is not None:
        raise removals.gone(None, what)


def _content(publisher: int, signed: str | None, evidence: str) -> str:
    return f"{publisher}/{signed or evidence}"
