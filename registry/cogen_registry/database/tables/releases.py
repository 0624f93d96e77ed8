"""Projects, their releases, and the experts of those."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from cogen_registry.database.tables.base import Base, now
from cogen_registry.database.tables.publishers import Publisher


class Project(Base):
    """``name``: as PEP 503 normalises it. ``look``: what look-alikes have in common, see admission/names.py."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    look: Mapped[str] = mapped_column(String(200), unique=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    publisher: Mapped[Publisher] = relationship()


class Release(Base):
    """One version of a project: one wheel. ``version``: as PEP 440 normalises it, trailing zeros dropped in ``same``.

    ``state``: "quarantined" (invisible, for ``reason``) or "released".
    """

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("project_id", "same"), Index(None, "state", "created"))
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    version: Mapped[str] = mapped_column(String(100))
    same: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    yanked: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    filename: Mapped[str] = mapped_column(String(300), unique=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    #: Blob of the wheel's METADATA, for PEP 658.
    metadata_sha256: Mapped[str] = mapped_column(String(64), index=True)
    metadata_size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    requires_python: Mapped[str | None] = mapped_column(String(200))
    summary: Mapped[str] = mapped_column(Text, default="")
    #: The signed statement and its bundle, see :mod:`cogen.trust`; the fingerprint of the key.
    statement: Mapped[dict[str, Any] | None]
    bundle: Mapped[dict[str, Any] | None]
    key: Mapped[str | None] = mapped_column(String(80))
    #: Does the wheel hold anything that Python could run? ``None``: from before this was looked at.
    code: Mapped[bool | None]
    project: Mapped[Project] = relationship()
    experts: Mapped[list[Expert]] = relationship(back_populates="release")


class Expert(Base):
    """What one release says of one expert. ``expert``: its id, which belongs to the project that published it first.

    ``current``: of the newest released, unyanked version (by PEP 440, final before pre-releases); what lists and
    search show. ``vector``: float32, little endian, of unit length; for search by meaning.
    """

    __tablename__ = "experts"
    __table_args__ = (UniqueConstraint("release_id", "expert"), Index(None, "current", "expert"))
    id: Mapped[int] = mapped_column(primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey("releases.id"), index=True)
    expert: Mapped[str] = mapped_column(String(40), index=True)
    current: Mapped[bool] = mapped_column(default=False)
    title: Mapped[str] = mapped_column(String(300))
    summary: Mapped[str] = mapped_column(String(300))
    publisher: Mapped[str] = mapped_column(String(64), index=True)
    license: Mapped[str] = mapped_column("licence", String(200), index=True)  # the column of the first version
    architecture: Mapped[str] = mapped_column(String(100))
    relation: Mapped[str] = mapped_column(String(20))
    parameters: Mapped[int] = mapped_column(BigInteger)
    base_name: Mapped[str | None] = mapped_column(String(300))
    #: Digest of the base's weights (or its own, from scratch): equal means one lineage.
    lineage: Mapped[str] = mapped_column(String(80), index=True)
    #: The whole manifest, as JSON.
    spec: Mapped[dict[str, Any]]
    #: What full-text search reads: title, summary, domains, sources and limits of the data card.
    text: Mapped[str] = mapped_column(Text, default="")
    vector: Mapped[bytes | None] = mapped_column(LargeBinary)
    release: Mapped[Release] = relationship(back_populates="experts")
    domains: Mapped[list[Domain]] = relationship(cascade="all, delete-orphan")
    languages: Mapped[list[Language]] = relationship(cascade="all, delete-orphan")


class Domain(Base):
    """A domain of an expert, in lower case."""

    __tablename__ = "domains"
    expert_id: Mapped[int] = mapped_column(ForeignKey("experts.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(300), primary_key=True, index=True)


class Language(Base):
    """A language of an expert (BCP 47), in lower case."""

    __tablename__ = "languages"
    expert_id: Mapped[int] = mapped_column(ForeignKey("experts.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(40), primary_key=True, index=True)


class Attestation(Base):
    """PEP 740: attestations of a release's wheel, and the trusted publisher that it was uploaded by."""

    __tablename__ = "attestations"
    release_id: Mapped[int] = mapped_column(ForeignKey("releases.id"), primary_key=True)
    publisher: Mapped[dict[str, Any]]
    attestations: Mapped[list[Any]] = mapped_column(JSON)


class IndexLink(Base):
    """PEP 708. ``kind``: "tracks" or "alternate-locations"; ``url``: of a project's page in another index."""

    __tablename__ = "index_links"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(30), primary_key=True)
    url: Mapped[str] = mapped_column(String(500), primary_key=True)


class Downloads(Base):
    """How often wheels of a project were fetched; written in batches."""

    __tablename__ = "downloads"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, default=0)
