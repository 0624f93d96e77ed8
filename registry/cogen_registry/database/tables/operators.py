"""Who did what, what was taken down, names, reports and trusted publishers."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cogen_registry.database.tables.base import Base, now
from cogen_registry.database.tables.publishers import Publisher


class AuditEntry(Base):
    """One action; rows are only ever added, the database refuses everything else. See :mod:`cogen_registry.audit.log`.

    ``publisher``: whose token it was, with ``token_id`` and ``address``; without one, ``operator`` is the user of the
    operating system who ran a command. ``digest``: hex SHA-256 over the row and ``previous``, the digest before it.
    """

    __tablename__ = "audit"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    moment: Mapped[str] = mapped_column(String(40))
    publisher: Mapped[str | None] = mapped_column(String(64), index=True)
    operator: Mapped[str | None] = mapped_column(String(100), index=True)
    token_id: Mapped[int | None]
    address: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(400), index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    previous: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))


class Takedown(Base):
    """``kind`` and ``subject`` name what was taken down; ``version`` narrows it. ``purged``: when its bytes were
    deleted. ``held_by`` and ``held``: bytes are kept until ``released_by`` let them go. ``lifted``: it is back.
    """

    __tablename__ = "takedowns"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str] = mapped_column(String(200), index=True)
    version: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    legal: Mapped[bool] = mapped_column(default=False)
    by: Mapped[str] = mapped_column(String(100))
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    purged: Mapped[datetime.datetime | None]
    held_by: Mapped[str | None] = mapped_column(String(100))
    held: Mapped[datetime.datetime | None]
    released_by: Mapped[str | None] = mapped_column(String(100))
    released: Mapped[datetime.datetime | None]
    lifted_by: Mapped[str | None] = mapped_column(String(100))
    lifted: Mapped[datetime.datetime | None]


class Removal(Base):
    """A row of another table that a take-down hides. ``kind``: release, repository, composite, evaluation, publisher,
    project or expert (of the last, ``row_id`` is its project's). ``before``: the release's state, to come back to.
    """

    __tablename__ = "removals"
    __table_args__ = (UniqueConstraint("takedown_id", "kind", "row_id", "name"), Index(None, "kind", "row_id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    takedown_id: Mapped[int] = mapped_column(ForeignKey("takedowns.id"))
    kind: Mapped[str] = mapped_column(String(20))
    row_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(200), default="")
    before: Mapped[str | None] = mapped_column(String(20))
    takedown: Mapped[Takedown] = relationship()


class Tombstone(Base):
    """What its publisher deleted: its number is never given again. ``name``: ``team/both/2``, or an evaluation's id.

    Of an evaluation that an operator purged a second one says what was in it, so that the same is not kept again.
    """

    __tablename__ = "tombstones"
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int]
    deleted: Mapped[datetime.datetime] = mapped_column(default=now)


class Doomed(Base):
    """A blob that a purge stopped naming; the service deletes it unless something else names it."""

    __tablename__ = "doomed"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class Prohibited(Base):
    """A pattern (``*`` and ``?``) of names that nobody may take."""

    __tablename__ = "prohibited_names"
    pattern: Mapped[str] = mapped_column(String(100), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class Consent(Base):
    """The operator lets this publisher take a name although it is close to another one."""

    __tablename__ = "name_consents"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), primary_key=True)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class Report(Base):
    """What a reader says is wrong with a page. ``closed`` with ``answer``: an operator looked at it."""

    __tablename__ = "reports"
    __table_args__ = (Index(None, "closed", "created"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    about: Mapped[str] = mapped_column(String(500))
    kind: Mapped[str] = mapped_column(String(40))
    text: Mapped[str] = mapped_column(Text)
    contact: Mapped[str] = mapped_column(String(300), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    closed: Mapped[datetime.datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(100))
    answer: Mapped[str | None] = mapped_column(Text)


class TrustedPublisher(Base):
    """Who may get a short-lived token for ``project``: a token of ``issuer`` that has all of ``claims``."""

    __tablename__ = "trusted_publishers"
    id: Mapped[int] = mapped_column(primary_key=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    project: Mapped[str] = mapped_column(String(200), index=True)
    issuer: Mapped[str] = mapped_column(String(300), index=True)
    claims: Mapped[dict[str, Any]]
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    publisher: Mapped[Publisher] = relationship()


class Exchanged(Base):
    """An identity token that was exchanged: never a second time. ``minted``: the token that was given for it."""

    __tablename__ = "exchanged"
    issuer: Mapped[str] = mapped_column(String(300), primary_key=True)
    jti: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires: Mapped[datetime.datetime]
    minted: Mapped[int | None]
    #: The claims that the identity was recognised by.
    claims: Mapped[dict[str, Any]] = mapped_column(default=dict)
