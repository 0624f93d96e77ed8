"""What was measured of experts, and what was composed from them."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cogen_registry.database.tables.base import Base, now
from cogen_registry.database.tables.publishers import Publisher


class Evaluation(Base):
    """A measurement by somebody other than the manifest. ``evidence``: blob of the figures of single documents."""

    __tablename__ = "evaluations"
    __table_args__ = (Index("ux_evaluations_signed", "expert_id", "publisher_id", "signed", unique=True),)
    id: Mapped[int] = mapped_column(primary_key=True)
    expert_id: Mapped[int] = mapped_column(ForeignKey("experts.id"), index=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    suite: Mapped[str] = mapped_column(String(64))
    metric: Mapped[str] = mapped_column(String(40))
    split: Mapped[str] = mapped_column("part", String(10))  # the column of the first version
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    documents: Mapped[int]
    harness: Mapped[str] = mapped_column(String(300))
    evidence: Mapped[str] = mapped_column(String(64), index=True)
    #: Of figures of a private suite the digest of the model that was measured; None: a measurement of a public suite.
    model: Mapped[str | None] = mapped_column(String(80), index=True)
    #: Of those figures the day of the measurement, and the digest of what was signed: the same again is the same,
    #: however it is wrapped.
    measured: Mapped[str | None] = mapped_column(String(10))
    signed: Mapped[str | None] = mapped_column(String(80), index=True)
    #: The fingerprint of the key that signed them.
    key: Mapped[str | None] = mapped_column(String(80))
    #: Bytes of the evidence.
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    publisher: Mapped[Publisher] = relationship()


class Composite(Base):
    """A model made from experts: its lock and its card."""

    __tablename__ = "composites"
    __table_args__ = (UniqueConstraint("publisher_id", "name", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(default=1)
    title: Mapped[str] = mapped_column(String(300))
    lock: Mapped[dict[str, Any]]
    card: Mapped[str] = mapped_column(Text, default="")
    #: Bytes of lock and card.
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    publisher: Mapped[Publisher] = relationship()


class Ingredient(Base):
    """An expert that a composite was made from, as its lock names it. ``expert_id``: the very same, if it is here."""

    __tablename__ = "ingredients"
    composite_id: Mapped[int] = mapped_column(ForeignKey("composites.id"), primary_key=True)
    expert: Mapped[str] = mapped_column(String(40), primary_key=True, index=True)
    version: Mapped[str] = mapped_column(String(100))
    spec_digest: Mapped[str] = mapped_column(String(80))
    expert_id: Mapped[int | None] = mapped_column(ForeignKey("experts.id"), index=True)
