"""The audit log: who did what, written in the transaction of what was done, or not at all.

:func:`record` is called within the transaction; rows are written right before its commit, so that on PostgreSQL those
who write wait for each other only that long. Each row has the digest of the one before: who removes or alters one in
spite of the database's triggers is found by :func:`broken`.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from cogen_registry.database.tables import AuditEntry, now

#: What the first row names as the one before.
START = "0" * 64
_PENDING = "audit"
#: Of PostgreSQL's advisory locks: any number that nothing else uses.
_LOCK = 0x636F67656E01
_SIGNED = ("moment", "publisher", "operator", "token_id", "address", "action", "subject", "detail", "previous")


@dataclass(frozen=True)
class Actor:
    """Who acts: a publisher by a token from an address, or an operator on the machine, or the service itself."""

    publisher: str | None = None
    operator: str | None = None
    token: int | None = None
    address: str | None = None


#: What nobody asked for: a release that leaves quarantine.
SERVICE = Actor(operator="service")


def operator() -> Actor:
    """Whoever runs this command, and who became root for it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = str(os.getuid())
    before = os.environ.get("SUDO_USER", "")
    return Actor(operator=(f"{name} ({before})" if before and before != name else name)[:100])


def actor_of(principal: Any) -> Actor:
    """Of :class:`cogen_registry.auth.Principal`."""
    return Actor(publisher=principal.name, token=principal.token, address=principal.address)


def record(session: Session, who: Actor, action: str, subject: str, **detail: Any) -> None:
    """Note an action in the transaction of ``session``; it is written with its commit.

    :param action: two words, such as ``release.upload``.
    :param detail: what JSON can hold.
    """
    row = {
        "publisher": who.publisher,
        "operator": who.operator,
        "token_id": who.token,
        "address": who.address,
        "action": action,
        "subject": subject[:400],
        "detail": {k: v for k, v in detail.items() if v is not None},
    }
    session.info.setdefault(_PENDING, []).append(row)


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    if session.in_nested_transaction() or not session.info.get(_PENDING):
        return
    session.flush()
    pending = session.info.pop(_PENDING)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    previous = head(session)
    for row in pending:
        row |= {"moment": now().isoformat(timespec="microseconds"), "previous": previous}
        previous = digest_of(row)
        session.add(AuditEntry(**row, digest=previous))
        session.flush()


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_PENDING, None)


def head(session: Session) -> str:
    """The digest of the newest row: who keeps it elsewhere notices when the end is cut off."""
    return session.scalar(select(AuditEntry.digest).order_by(AuditEntry.id.desc()).limit(1)) or START


def digest_of(row: Any) -> str:
    """Hex SHA-256 over everything a row says and the digest before it."""
    values = [row[name] if isinstance(row, dict) else getattr(row, name) for name in _SIGNED]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def broken(session: Session) -> Iterator[str]:
    """Rows that were altered, and places where rows are missing, one line each."""
    previous = START
    rows = select(AuditEntry).order_by(AuditEntry.id).execution_options(yield_per=500)
    for row in session.scalars(rows):
        if row.previous != previous:
            yield f"the audit log lacks entries before {row.id}"
        if digest_of(row) != row.digest:
            yield f"entry {row.id} of the audit log was altered"
        previous = row.digest


def entries(
    session: Session, publisher: str | None = None, subject: str | None = None, since: str | None = None
) -> Iterator[AuditEntry]:
    """The oldest first. ``subject``: itself and what begins with it. ``since``: a moment, ISO 8601 in UTC."""
    wanted = select(AuditEntry).order_by(AuditEntry.id)
    if publisher:
        wanted = wanted.where(AuditEntry.publisher == publisher)
    if subject:
        wanted = wanted.where(AuditEntry.subject.startswith(subject, autoescape=True))
    if since:
        wanted = wanted.where(AuditEntry.moment >= since)
    yield from session.scalars(wanted.execution_options(yield_per=500))
