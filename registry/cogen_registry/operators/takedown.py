"""Take-down and restore: hidden at once wherever it could be read, with a reason that everybody is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from cogen_registry.admission import current
from cogen_registry.audit import log
from cogen_registry.audit.removals import REMOVED
from cogen_registry.database.tables import Evaluation, Expert, Release, Removal, Takedown, now
from cogen_registry.errors import Refused, not_found
from cogen_registry.operators.purge import EMPTY
from cogen_registry.operators.subjects import KINDS, Row, rows_of
from cogen_registry.operators.visible import tell

#: A reason is told to people and programs: one line.
LONGEST = 500
_ASK_OPERATOR = "ask the registry's operator"


@dataclass(frozen=True)
class Subject:
    """What an operator names: ``NAME`` or ``NAME==VERSION``, of one of :data:`KINDS`."""

    kind: str
    name: str
    version: str | None = None
    #: The version as it was written: 1.0 and 1.0.0 are one, and people look for the one that they know.
    written: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, kind: str, text: str) -> Subject:
        """:raises Refused: 400"""
        if kind not in KINDS:
            raise Refused(400, f"{kind!r} can't be taken down", hint="one of " + ", ".join(KINDS))
        name, equals, version = text.strip().partition("==")
        if not name or (equals and not version) or (version and kind not in ("release", "expert", "composite")):
            raise Refused(400, f"{text!r} names no {kind}", hint=f"for example {KINDS[kind]}")
        normal = _normal(version) if version and kind != "composite" else version or None
        return cls(kind, name, normal, version or None)

    def __str__(self) -> str:
        version = self.written or self.version
        return f"{self.kind} {self.name}" + (f"=={version}" if version else "")


def _normal(version: str) -> str:
    try:
        return str(canonicalize_version(Version(version)))
    except InvalidVersion:
        raise Refused(400, f"{version!r} is not a version", hint="it looks like 1.0.2") from None


def take_down(
    session: Session,
    who: log.Actor,
    subject: Subject,
    reason: str,
    *,
    purge: bool = False,
    hold: bool = False,
    legal: bool = False,
) -> int:
    """Hide a subject; how many rows it hides. Again with ``purge`` or ``hold``: the bytes go, or are held.

    :param hold: its bytes are kept until :func:`release_hold`; nobody may purge them before.
    :param legal: answered with 451 instead of 410; so is what is held.
    :raises Refused: 400, there is no reason; 404, there is no such thing; 409, it is down already, or held.
    """
    reason = " ".join(reason.split())
    if not 3 <= len(reason) <= LONGEST:
        raise Refused(400, "a takedown needs a public reason", hint='--reason "…", one line')
    if purge and hold:
        raise Refused(400, "--purge and --legal-hold exclude each other", hint="choose --purge or --legal-hold")
    rows = rows_of(session, subject.kind, subject.name, subject.version)
    known = active(session, subject)
    if known is not None and (known.purged or not (purge or hold)):
        listed = "`cogen-registry takedowns` lists them all" if who.operator else _ASK_OPERATOR
        raise Refused(409, f"{subject} was taken down already: {known.reason}", hint=listed)
    made = known or Takedown(
        kind=subject.kind,
        subject=rows[0].subject,
        version=subject.version,
        reason=reason,
        by=who.operator or who.publisher or "",
    )
    made.legal = made.legal or legal or hold
    session.add(made)
    session.flush()
    for row in rows:
        _hide(session, made, row)
    if hold and (made.held is None or made.released is not None):
        made.held, made.held_by, made.released, made.released_by = now(), who.operator, None, None
    if purge:
        _purge(session, made, rows, who)
    log.record(
        session,
        who,
        "takedown.add",
        str(subject),
        reason=reason,
        purge=purge or None,
        hold=hold or None,
        legal=made.legal or None,
        takedown=made.id,
        rows=len(rows),
    )
    return len(rows)


def _hide(session: Session, takedown: Takedown, row: Row) -> None:
    name = row.name or ""
    same = {"takedown_id": takedown.id, "kind": row.kind, "row_id": row.id, "name": name}
    if session.scalar(select(Removal.id).filter_by(**same)) is not None:
        return
    before = None
    if row.kind == "release":
        release = session.get_one(Release, row.id)
        before = release.state
        if before == REMOVED:
            before = session.scalar(select(Removal.before).where(Removal.kind == "release", Removal.row_id == row.id))
        release.state = REMOVED
        current.refresh(session, release.project_id)
    session.add(Removal(**same, before=before))
    session.flush()
    tell(session, row.kind, row.id)


def _purge(session: Session, takedown: Takedown, rows: Sequence[Row], who: log.Actor) -> None:
    """:raises Refused: 409, somebody holds a part of it; who does is said to operators alone."""
    for row in _with_measurements(session, rows):
        held: Takedown | None = session.scalar(
            select(Takedown)
            .join(Removal)
            .where(Removal.kind == row.kind, Removal.row_id == row.id, _holding())
            .limit(1)
        )
        if held is not None:
            if who.operator is None:
                raise Refused(
                    409, f"{row.subject} is under a legal hold since {held.held:%Y-%m-%d}", hint=_ASK_OPERATOR
                )
            raise Refused(
                409,
                f"{row.subject} is under a legal hold by {held.held_by} since {held.held:%Y-%m-%d}",
                hint=f"`cogen-registry release-hold {_named(held)}` comes first, by whoever may",
            )
    for row in rows:
        if row.kind in EMPTY:
            EMPTY[row.kind](session, row.id)
    takedown.purged = now()


def _with_measurements(session: Session, rows: Sequence[Row]) -> list[Row]:
    """A release goes with what others measured of it."""
    releases = [row.id for row in rows if row.kind == "release"]
    measured = select(Evaluation.id).join(Expert, Evaluation.expert_id == Expert.id)
    ids = session.scalars(measured.where(Expert.release_id.in_(releases)))
    return [*rows, *(Row("evaluation", id, f"evaluation {id}") for id in ids)]


def restore(session: Session, who: log.Actor, subject: Subject, reason: str = "") -> int:
    """Show a subject again; how many rows come back. What another take-down hides, too, stays hidden.

    :raises Refused: 404, it is not down; 409, its bytes are gone.
    """
    takedown = _active(session, subject)
    if takedown.purged:
        raise Refused(
            409,
            f"{subject} was purged on {takedown.purged:%Y-%m-%d}: its bytes are gone",
            hint="its publisher may publish a new version under another name",
        )
    if takedown.held and not takedown.released:
        raise Refused(
            409,
            f"{subject} is under a legal hold by {takedown.held_by}",
            hint=f"`cogen-registry release-hold {_named(takedown)}` comes first, by whoever may",
        )
    removals = session.scalars(select(Removal).where(Removal.takedown_id == takedown.id)).all()
    session.execute(delete(Removal).where(Removal.takedown_id == takedown.id))
    back = 0
    for one in removals:
        more = session.scalar(
            select(Removal.id).where(Removal.kind == one.kind, Removal.row_id == one.row_id, Removal.name == one.name)
        )
        back += more is None
        if one.kind == "release" and more is None:
            release = session.get_one(Release, one.row_id)
            release.state = one.before or "quarantined"
            current.refresh(session, release.project_id)
        tell(session, one.kind, one.row_id)
    takedown.lifted, takedown.lifted_by = now(), who.operator
    log.record(session, who, "takedown.restore", str(subject), takedown=takedown.id, rows=back, reason=reason or None)
    return back


def release_hold(session: Session, who: log.Actor, subject: Subject, reason: str) -> None:
    """Its bytes may be purged from now on; it stays hidden.

    :raises Refused: 400, 404
    """
    reason = " ".join(reason.split())
    if len(reason) < 3:
        raise Refused(400, "to release a legal hold needs a reason", hint='--reason "…"')
    takedown = _active(session, subject)
    if takedown.held is None or takedown.released is not None:
        raise not_found(f"legal hold on {subject}", "`cogen-registry takedowns` lists them")
    takedown.released, takedown.released_by = now(), who.operator
    log.record(session, who, "takedown.release-hold", str(subject), takedown=takedown.id, reason=reason)


def active(session: Session, subject: Subject) -> Takedown | None:
    """The take-down of exactly this subject that was not lifted."""
    name = rows_of(session, subject.kind, subject.name, subject.version)[0].subject
    return session.scalar(
        select(Takedown).where(
            Takedown.kind == subject.kind,
            Takedown.subject == name,
            Takedown.lifted.is_(None),
            Takedown.version.is_(None) if subject.version is None else Takedown.version == subject.version,
        )
    )


def _active(session: Session, subject: Subject) -> Takedown:
    found = active(session, subject)
    if found is None:
        raise not_found(f"take-down of {subject}", "`cogen-registry takedowns` lists them")
    return found


def _holding() -> ColumnElement[bool]:
    return Takedown.held.is_not(None) & Takedown.released.is_(None) & Takedown.lifted.is_(None)


def _named(takedown: Takedown) -> str:
    return f"{takedown.kind} {takedown.subject}" + (f"=={takedown.version}" if takedown.version else "")


def listed(session: Session, every: bool = False) -> Sequence[Takedown]:
    """Those in force, or all that there ever were; the oldest first."""
    wanted = select(Takedown).order_by(Takedown.id)
    return session.scalars(wanted if every else wanted.where(Takedown.lifted.is_(None))).all()


def number_hidden(session: Session, takedown: int) -> int:
    return session.scalar(select(func.count()).where(Removal.takedown_id == takedown)) or 0
