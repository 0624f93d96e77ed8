"""The tables of signed metadata, read and written within a transaction of somebody else's."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from tuf.api.metadata import Metadata

from cogen.trust.metadata.project import bytes_of
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import SignedFile, SignedRole, now

#: Seconds that clients may still ask for what was superseded.
KEPT = 600.0
#: Any number will do, as long as nothing else uses it.
_LOCK = 0x7475_6601


def alone(session: Session) -> None:
    """Until the end of this transaction nobody else signs. (SQLite has one writer at a time anyway.)"""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def newest(session: Session, role: str) -> Metadata[Any] | None:
    """The current version of a role."""
    data = session.scalar(
        select(SignedRole.data).where(SignedRole.role == role).order_by(SignedRole.version.desc()).limit(1)
    )
    return None if data is None else Metadata.from_bytes(data)


def initialised(session: Session) -> bool:
    return session.scalar(select(SignedRole.version).where(SignedRole.role == "timestamp").limit(1)) is not None


def put_roles(session: Session, documents: Iterable[tuple[str, Metadata[Any]]]) -> None:
    """Signed ones, which supersede those of before."""
    moment = now()
    for role, document in documents:
        session.execute(
            update(SignedRole)
            .where(SignedRole.role == role, SignedRole.superseded.is_(None))
            .values(superseded=moment)
            .execution_options(synchronize_session=False)
        )
        row = {
            "role": role,
            "version": document.signed.version,
            "expires": document.signed.expires,
            "data": bytes_of(document),
            "created": moment,
        }
        session.execute(insert(SignedRole), [row])


def put_file(session: Session, path: str, bin: str, data: bytes | None) -> bool:
    """Name a file from now on, or with ``None`` no longer; is that a change?"""
    sha256 = None if data is None else hashlib.sha256(data).hexdigest()
    current = session.scalar(select(SignedFile.sha256).where(SignedFile.path == path, SignedFile.superseded.is_(None)))
    if current == sha256:
        return False
    quietly = {"synchronize_session": False}
    session.execute(
        update(SignedFile)
        .where(SignedFile.path == path, SignedFile.superseded.is_(None))
        .values(superseded=now())
        .execution_options(**quietly)
    )
    if data is not None:
        session.execute(
            delete(SignedFile).where(SignedFile.path == path, SignedFile.sha256 == sha256).execution_options(**quietly)
        )
        row = {"path": path, "sha256": sha256, "bin": bin, "length": len(data), "data": data}
        session.execute(insert(SignedFile), [row])
    return True


def read_file(session: Session, path: str) -> bytes | None:
    """The current content of a file."""
    return session.scalar(select(SignedFile.data).where(SignedFile.path == path, SignedFile.superseded.is_(None)))


def files_of(session: Session, bin: str) -> list[tuple[str, str, int]]:
    """(path, hex SHA-256, length) of what a bin names."""
    rows = session.execute(
        select(SignedFile.path, SignedFile.sha256, SignedFile.length)
        .where(SignedFile.bin == bin, SignedFile.superseded.is_(None))
        .order_by(SignedFile.path)
    )
    return [(row.path, row.sha256, row.length) for row in rows]


def prune(session: Session) -> None:
    """Forget what was superseded long enough ago; roots stay for ever."""
    old = now() - datetime.timedelta(seconds=KEPT)
    quietly = {"synchronize_session": False}
    session.execute(
        delete(SignedRole).where(SignedRole.superseded < old, SignedRole.role != "root").execution_options(**quietly)
    )
    session.execute(delete(SignedFile).where(SignedFile.superseded < old).execution_options(**quietly))
