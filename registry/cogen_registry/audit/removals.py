"""What was taken down: hidden wherever it could be read, answered with the reason, its names stay taken.

A row of ``removals`` hides one row of another table as long as it is there. Releases say it in their ``state``, too, so
that every list of released ones leaves them out.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Release, Removal, Takedown
from cogen_registry.errors import Refused

#: The state of a release that was taken down.
REMOVED = "removed"
_HINT = "a version that was taken down is not published again; its publisher may ask the registry's operator"


def takedown_of(session: Session, kind: str, row: int, name: str | None = None) -> Takedown | None:
    """The first take-down that hides this row."""
    wanted = select(Takedown).join(Removal).where(Removal.kind == kind, Removal.row_id == row)
    if name is not None:
        wanted = wanted.where(Removal.name == name)
    return session.scalar(wanted.order_by(Takedown.id).limit(1))


def gone(takedown: Takedown | None, what: str) -> Refused:
    """410, or 451 where it had to be for a legal reason; who asks is told why."""
    if takedown is None:
        return Refused(410, f"{what} was taken down", hint=_HINT)
    status = 451 if takedown.legal else 410
    return Refused(status, f"{what} was taken down: {takedown.reason}", hint=_HINT, headers=reason_header(takedown))


def reason_header(takedown: Takedown) -> dict[str, str]:
    """The Hub's clients show this one, whatever the status."""
    text = f"taken down: {takedown.reason}".encode("ascii", "backslashreplace").decode()
    return {"X-Error-Message": " ".join(text.split())}


def check(session: Session, kind: str, row: int, what: str, name: str | None = None) -> None:
    """:raises Refused: 410 or 451, it was taken down."""
    if (found := takedown_of(session, kind, row, name)) is not None:
        raise gone(found, what)


def check_release(session: Session, release: Release, what: str) -> None:
    """:raises Refused: 410 or 451"""
    if release.state == REMOVED:
        raise gone(takedown_of(session, "release", release.id), what)


def shown(kind: str, column: Any) -> ColumnElement[bool]:
    """The condition that nothing hides the row whose id is ``column``."""
    return ~exists().where(Removal.kind == kind, Removal.row_id == column)
