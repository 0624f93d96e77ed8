"""What several processes of one registry share."""

from __future__ import annotations

import datetime

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from cogen_registry.database.tables.base import Base, now


class Counter(Base):
    """One row, number 1: how many changes there have been. See :mod:`cogen_registry.database.feed`."""

    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[int] = mapped_column(BigInteger, default=0)


class Change(Base):
    """Something that can be seen became another. Whoever keeps something in memory reads these, in their order."""

    __tablename__ = "changes"
    serial: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20))
    key: Mapped[str] = mapped_column(String(300))
    created: Mapped[datetime.datetime] = mapped_column(default=now, index=True)


class Process(Base):
    """A running replica. ``seen``: its last heartbeat, by the database's clock; ``blobs``: where its blobs are."""

    __tablename__ = "processes"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str] = mapped_column(String(300))
    blobs: Mapped[str] = mapped_column(String(1000))
    seen: Mapped[datetime.datetime]


class Lease(Base):
    """A replica keeps a blob that no row may name yet: no clean-up takes it. Worth nothing without its process."""

    __tablename__ = "leases"
    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    process: Mapped[str] = mapped_column(String(40), index=True)


class Secret(Base):
    """What all replicas sign with. On SQLite it is a file of the root instead."""

    __tablename__ = "secrets"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)
