"""What publishers deleted themselves: numbers that were given once are never given again."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Tombstone
from cogen_registry.errors import Refused


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
