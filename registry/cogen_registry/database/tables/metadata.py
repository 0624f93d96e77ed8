"""Signed metadata: TUF roles, their files, and projects that wait to be signed."""

from __future__ import annotations

import datetime

from sqlalchemy import Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cogen_registry.database.tables.base import Base, now


class SignedRole(Base):
    """Signed metadata of The Update Framework: one version of one role, as it is served.

    ``superseded``: when a newer version came; old ones stay for clients that are reading, roots for ever.
    """

    __tablename__ = "signed_roles"
    role: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    expires: Mapped[datetime.datetime]
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    superseded: Mapped[datetime.datetime | None] = mapped_column(index=True)


class SignedFile(Base):
    """A target of that metadata: what is said of one project, its publisher's chain, or what was revoked.

    ``bin``: the role that names it. ``superseded``: ``None`` for the one of this path that counts.
    """

    __tablename__ = "signed_files"
    __table_args__ = (Index(None, "bin", "superseded"),)
    path: Mapped[str] = mapped_column(String(300), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bin: Mapped[str] = mapped_column(String(40))
    length: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)
    superseded: Mapped[datetime.datetime | None] = mapped_column(index=True)


class Unsigned(Base):
    """A project that changed where no key was at hand: the service signs what is said of it within seconds."""

    __tablename__ = "unsigned"
    project: Mapped[str] = mapped_column(String(200), primary_key=True)
