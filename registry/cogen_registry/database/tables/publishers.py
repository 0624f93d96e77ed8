"""Teams, their tokens, and the keys that they sign with."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cogen_registry.database.tables.base import Base, now


class Publisher(Base):
    """A team. ``name`` is also its namespace for weights: lower case, ``[a-z0-9][a-z0-9-]*``."""

    __tablename__ = "publishers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(300), default="")
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    #: Overrides of :class:`~cogen_registry.settings.Limits` by field name.
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Token(Base):
    """``digest``: hex SHA-256 of the secret, which is shown once and never stored."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    label: Mapped[str] = mapped_column(String(100), default="")
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(default=list)
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    expires: Mapped[datetime.datetime | None]
    revoked: Mapped[datetime.datetime | None]
    #: When it was last used, within some seconds: written in batches.
    used: Mapped[datetime.datetime | None]
    publisher: Mapped[Publisher] = relationship()


class Key(Base):
    """A public key that a publisher signs with. ``fingerprint``: ``sha256:`` + hex of its DER SubjectPublicKeyInfo."""

    __tablename__ = "keys"
    id: Mapped[int] = mapped_column(primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(80), unique=True)
    pem: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    revoked: Mapped[datetime.datetime | None]
    publisher: Mapped[Publisher] = relationship()
