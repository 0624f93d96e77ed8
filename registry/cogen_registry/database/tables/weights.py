"""Repositories of weights, and bytes on their way into them."""

from __future__ import annotations

import datetime

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cogen_registry.database.tables.base import Base, now
from cogen_registry.database.tables.publishers import Publisher


class Repository(Base):
    """Weights: ``publisher/name``. ``key``: in lower case; two that differ by case alone can't be."""

    __tablename__ = "repositories"
    id: Mapped[int] = mapped_column(primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    name: Mapped[str] = mapped_column(String(96))
    key: Mapped[str] = mapped_column(String(200), unique=True)
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    publisher: Mapped[Publisher] = relationship()


class Commit(Base):
    """The whole tree of a repository at one moment. ``oid``: 40 hex digits."""

    __tablename__ = "commits"
    __table_args__ = (UniqueConstraint("repository_id", "oid"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), index=True)
    oid: Mapped[str] = mapped_column(String(40), index=True)
    parent: Mapped[str | None] = mapped_column(String(40))
    summary: Mapped[str] = mapped_column(String(500), default="")
    description: Mapped[str] = mapped_column(Text, default="")
    #: Bytes and number of its lines in the database; see admission/quota.py.
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    files: Mapped[int] = mapped_column(default=0, server_default="0")
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    repository: Mapped[Repository] = relationship()
    entries: Mapped[list[Entry]] = relationship(order_by="Entry.path", cascade="all, delete-orphan")


class Entry(Base):
    """One file of a commit. ``oid``: git's SHA-1 of the blob for small files, ``sha256`` for those of LFS."""

    __tablename__ = "entries"
    commit_id: Mapped[int] = mapped_column(ForeignKey("commits.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(500), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    oid: Mapped[str] = mapped_column(String(64))
    lfs: Mapped[bool] = mapped_column(default=False)


class Reference(Base):
    """``kind``: "branch" (moves) or "tag" (never does)."""

    __tablename__ = "references"
    __table_args__ = (UniqueConstraint("repository_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(10))
    oid: Mapped[str | None] = mapped_column(String(40))


class Possession(Base):
    """A repository's own publisher uploaded these bytes to it; only then may a commit of it name them."""

    __tablename__ = "possessions"
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class Verified(Base):
    """Weights outside of this registry that were fetched once and had the digest that a manifest promised."""

    __tablename__ = "verified"
    source: Mapped[str] = mapped_column(String(500), primary_key=True)
    digest: Mapped[str] = mapped_column(String(80), primary_key=True)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class Xorb(Base):
    """A xorb that waits for its shard, as a blob. ``chunks``: its table, see weights/xet_format.py."""

    __tablename__ = "xorbs"
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class Places(Base):
    """Where the chunks of a xorb ended up, see weights/xet_store.py. Under "epoch": part of the publisher's URL."""

    __tablename__ = "xorb_places"
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    places: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


# ---- operators: who did what, what was taken down, names, reports, short-lived tokens ----------------------------
