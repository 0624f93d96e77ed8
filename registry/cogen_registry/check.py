"""`cogen-registry check`: reads every blob and every row, and says what is damaged. Nothing is changed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from cogen.errors import CogenError
from cogen.spec.expert import ExpertSpec
from cogen_registry.admission.current import rank
from cogen_registry.admission.releases import publisher_of
from cogen_registry.admission.signatures import expected
from cogen_registry.audit import log, removals
from cogen_registry.database.tables import (
    Commit,
    Composite,
    Entry,
    Evaluation,
    Expert,
    Key,
    Possession,
    Project,
    Publisher,
    Reference,
    Release,
    Repository,
    Xorb,
)
from cogen_registry.errors import Refused
from cogen_registry.service import Service

#: Everything that names a blob: (what it is, statement of (name, hex SHA-256, size or null)).
_NAMED: tuple[tuple[str, Select[*tuple[Any, ...]]], ...] = (
    ("the wheel", select(Release.filename, Release.sha256, Release.size).where(Release.sha256 != "")),
    ("the METADATA of", select(Release.filename, Release.metadata_sha256, text("NULL")).where(Release.sha256 != "")),
    ("the file", select(Entry.path, Entry.sha256, Entry.size)),
    ("an upload to repository", select(Possession.repository_id, Possession.sha256, Possession.size)),
    ("the xorb", select(Xorb.name, Xorb.sha256, Xorb.size)),
    ("the evidence of evaluation", select(Evaluation.id, Evaluation.evidence, text("NULL"))),
)
_TOLERANCE = 1e-6


@dataclass
class CheckResult:
    """``damage``: one line each. ``unnamed``: whole blobs that nothing names: the next start removes them."""

    blobs: int = 0
    bytes: int = 0
    rows: int = 0
    unnamed: int = 0
    damage: list[str] = field(default_factory=list)
    #: Digest of the newest entry of the audit log.
    head: str = ""


def check(service: Service, *, quick: bool = False, advance: Callable[[int], None] = lambda _: None) -> CheckResult:
    """Look at everything.

    :param quick: believe that a blob which is there with the right size is whole.
    :param advance: called with numbers of bytes.
    """
    found = CheckResult()
    with service.sessions.read() as session:
        found.damage += _database(session)
        found.head = log.head(session)
        named = _sizes(session)
        found.rows = sum(len(uses) for uses in named.values())
    _blobs(service, named, found, quick, advance)
    with service.sessions.read() as session:
        for look in (_audit, _releases, _current, _repositories, _evaluations, _composites):
            found.damage += look(service, session)
    return found


def _database(session: Session) -> Iterator[str]:
    if session.get_bind().dialect.name != "sqlite":
        return
    for line in session.scalars(text("PRAGMA integrity_check")):
        if line != "ok":
            yield f"the database: {line}"
    for table, row, parent, _ in session.execute(text("PRAGMA foreign_key_check")):
        yield f"the database: row {row} of {table} names a row of {parent} that is not there"


def _sizes(session: Session) -> dict[str, list[tuple[str, int | None]]]:
    """Hex SHA-256 → [(who names it, size that it should have)]."""
    named: dict[str, list[tuple[str, int | None]]] = {}
    for what, statement in _NAMED:
        for name, sha256, size in session.execute(statement):
            named.setdefault(sha256, []).append((f"{what} {name}", size))
    return named


def _blobs(
    service: Service,
    named: dict[str, list[tuple[str, int | None]]],
    found: CheckResult,
    quick: bool,
    advance: Callable[[int], None],
) -> None:
    here = set()
    for name in service.blobs.names():
        uses, size = named.get(name), service.blobs.size(name)
        if size is None:  # deleted since
            continue
        here.add(name)
        found.blobs, found.bytes = found.blobs + 1, found.bytes + size
        who = uses[0][0] if uses else "named by nothing"
        if wrong := [(use, want) for use, want in uses or () if want is not None and want != size]:
            found.damage.append(f"{wrong[0][0]} has {size:,} bytes, not {wrong[0][1]:,} (blob {name})")
        elif not quick and (reason := _unlike(service, name, advance)):
            found.damage.append(f"{who} is damaged: {reason} (blob {name})")
        elif uses is None:
            found.unnamed += 1
    for name, uses in named.items():
        if name not in here and service.blobs.size(name) is None:
            found.damage.append(f"{uses[0][0]} is missing (blob {name})")


def _unlike(service: Service, name: str, advance: Callable[[int], None]) -> str | None:
    digest = hashlib.sha256()
    try:
        for block in service.blobs.read(name):
            digest.update(block)
            advance(len(block))
    except Refused as error:
        return error.message
    except OSError as error:
        return f"it can't be read: {error.strerror}"
    return None if digest.hexdigest() == name else f"its SHA-256 is {digest.hexdigest()}"


def _audit(service: Service, session: Session) -> Iterator[str]:
    """Nothing of the audit log was altered or taken out."""
    return log.broken(session)


def _releases(service: Service, session: Session) -> Iterator[str]:
    """Manifests are valid, and signatures hold."""
    for release in session.scalars(select(Release).order_by(Release.id).execution_options(yield_per=200)):
        name = f"{release.project.name} {release.version}"
        if release.state == removals.REMOVED:
            if removals.takedown_of(session, "release", release.id) is None:
                yield f"{name} is hidden, and no take-down says why"
            continue
        if release.state not in ("released", "quarantined"):
            yield f"{name} has the state {release.state!r}"
        for row in release.experts:
            try:
                spec = ExpertSpec.model_validate(row.spec)
            except ValidationError as error:
                yield f"the manifest of {row.expert} in {name} is not valid: {error.errors()[0]['msg']}"
                continue
            if (spec.id, spec.license, spec.model.lineage) != (row.expert, row.license, row.lineage):
                yield f"the row of {row.expert} in {name} says something else than its manifest"
        if release.bundle is not None and (reason := _unsigned(session, release)):
            yield f"the signature of {name} does not hold: {reason}"


def _unsigned(session: Session, release: Release) -> str | None:
    from cogen.trust import check_statement

    key = session.scalar(select(Key).where(Key.fingerprint == release.key))
    if key is None or key.publisher.name != publisher_of(release):
        return "its key is not known, or another publisher's"
    statement = dict(release.statement or {})
    try:
        check_statement(statement, dict(release.bundle or {}), key.pem)
    except CogenError as error:
        return error.message
    statement.pop("signed")
    statement["experts"] = sorted(statement["experts"], key=lambda one: str(one["id"]))
    return None if statement == expected(release) else "it is about something else"


def _current(service: Service, session: Session) -> Iterator[str]:
    """Lists show the newest released version of each project that is not yanked, and no other one."""
    rows = session.execute(
        select(Release.project_id, Project.name, Release.id, Release.version, Release.state, Release.yanked).join(
            Project, Release.project_id == Project.id
        )
    ).all()
    newest: dict[int, Any] = {}
    for row in rows:
        if row.state == "released" and row.yanked is None:
            known = newest.get(row.project_id)
            if known is None or rank(row.version) > rank(known.version):
                newest[row.project_id] = row
    right = {row.id for row in newest.values()}
    shown = session.execute(select(Expert.expert, Expert.release_id, Expert.current))
    for expert, release, current in shown:
        if current and release not in right:
            yield f"{expert} is shown in a version that is yanked, in quarantine or not the newest"
        if not current and release in right:
            yield f"{expert} is not shown in its newest version"


def _repositories(service: Service, session: Session) -> Iterator[str]:
    """Branches, tags and parents are commits that are there; a file's bytes were sent to its own repository."""
    commits: set[tuple[int, str]] = {(a, b) for a, b in session.execute(select(Commit.repository_id, Commit.oid))}
    names: dict[int, str] = {
        id: f"{owner}/{name}"
        for id, owner, name in session.execute(select(Repository.id, Publisher.name, Repository.name).join(Publisher))
    }
    for id, name, oid in session.execute(select(Reference.repository_id, Reference.name, Reference.oid)):
        if oid is not None and (id, oid) not in commits:
            yield f"{name} of {names.get(id)} names the commit {oid}, which is not there"
    for id, oid, parent in session.execute(select(Commit.repository_id, Commit.oid, Commit.parent)):
        if parent is not None and (id, parent) not in commits:
            yield f"the commit {oid} of {names.get(id)} has a parent that is not there"
    own: set[tuple[int, str]] = {
        (a, b) for a, b in session.execute(select(Possession.repository_id, Possession.sha256))
    }
    entries = select(Commit.repository_id, Entry.path, Entry.sha256).join(Commit, Entry.commit_id == Commit.id)
    for id, path, sha256 in session.execute(entries.distinct()):
        if (id, sha256) not in own:
            yield f"{path} of {names.get(id)} names bytes that its publisher never sent"


def _evaluations(service: Service, session: Session) -> Iterator[str]:
    """A measurement is the mean of its own evidence."""
    for one in session.scalars(select(Evaluation).order_by(Evaluation.id)):
        if service.blobs.size(one.evidence) is None:
            continue  # said already
        try:
            document = json.loads(b"".join(service.blobs.read(one.evidence)))
            if one.model is not None:  # of a private suite: there are no figures of documents, but a signature
                if not _signed(document, one):
                    yield f"evaluation {one.id} is not what its publisher signed"
                continue
            figures = document["per_document"]
            value = math.fsum(top for top, _ in figures) / math.fsum(bottom for _, bottom in figures)
            right = math.isclose(value, one.value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError):
            right = False
        if not right:
            yield f"evaluation {one.id} is not what its evidence says"


def _signed(document: Any, row: Evaluation) -> bool:
    from cogen.errors import CogenError
    from cogen.evals.figures import FiguresDocument

    try:
        found = FiguresDocument.model_validate(document)
        same = (found.figures.suite, found.figures.model.digest, found.figures.model.value)
        return found.check() is not None and same == (row.suite, row.model, row.value)
    except (CogenError, ValueError):
        return False


def _composites(service: Service, session: Session) -> Iterator[str]:
    from cogen_registry.experts.composites import check_lock

    for one in session.scalars(
        select(Composite).where(removals.shown("composite", Composite.id)).order_by(Composite.id)
    ):
        try:
            check_lock(one.lock)
        except Refused as error:
            yield f"composite {one.publisher.name}/{one.name} {one.version}: {error.message}"
