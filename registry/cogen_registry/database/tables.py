"""What the registry knows. Times are UTC; digests of blobs are bare lower-case hex SHA-256."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Utc(TypeDecorator[datetime.datetime]):
    """A moment with its time zone; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime.datetime | None, dialect: Any) -> datetime.datetime | None:
        return value.replace(tzinfo=datetime.UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """Constraints have names, so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime.datetime: Utc, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


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
    licence: Mapped[str] = mapped_column(String(200), index=True)
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


class Evaluation(Base):
    """A measurement by somebody other than the manifest. ``evidence``: blob of the figures of single documents."""

    __tablename__ = "evaluations"
    id: Mapped[int] = mapped_column(primary_key=True)
    expert_id: Mapped[int] = mapped_column(ForeignKey("experts.id"), index=True)
    publisher_id: Mapped[int] = mapped_column(ForeignKey("publishers.id"), index=True)
    suite: Mapped[str] = mapped_column(String(64))
    metric: Mapped[str] = mapped_column(String(40))
    part: Mapped[str] = mapped_column(String(10))
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    documents: Mapped[int]
    harness: Mapped[str] = mapped_column(String(300))
    evidence: Mapped[str] = mapped_column(String(64), index=True)
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


# ------------------------------------------------------------------------ what several processes of one registry share


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
    """What its publisher deleted: its number is never given again. ``name``: ``team/both/2``, or an evaluation's id."""

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


class Downloads(Base):
    """How often wheels of a project were fetched; written in batches."""

    __tablename__ = "downloads"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, default=0)


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
