"""Lists of experts, and everything about one: for the API and for the pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from cogen.spec.expert import canonical_digest
from cogen_registry.audit import removals
from cogen_registry.database.tables import Composite, Expert, Ingredient, Key, Project, Publisher, Release
from cogen_registry.errors import not_found
from cogen_registry.experts import models
from cogen_registry.experts.cards import COLUMNS, fields, shelf_of
from cogen_registry.experts.evaluations import evaluations_of
from cogen_registry.search.index import Query, search_of
from cogen_registry.service import Service
from cogen_registry.versions import version_of

#: Composites that an expert's page names.
_USES = 20
_SEARCH = "/api/v1/experts?q=… searches; check the spelling"
#: Statements are made once: to put one together takes as long as to run it.
_ROWS = (
    select(*COLUMNS, Expert.current, Release)
    .join(Release, Expert.release_id == Release.id)
    .join(Project)
    .where(Expert.expert == bindparam("expert"), Release.state == "released")
)
_SPEC = select(Expert.spec).where(Expert.id == bindparam("row"))
_REVOKED = select(Key.revoked).where(Key.fingerprint == bindparam("key"))
_USED = (
    select(
        Publisher.name.label("publisher"),
        Composite.name,
        Composite.version,
        Composite.title,
        (Ingredient.expert_id == bindparam("row")).label("exact"),
    )
    .join(Composite, Ingredient.composite_id == Composite.id)
    .join(Publisher, Composite.publisher_id == Publisher.id)
    .where(Ingredient.expert == bindparam("expert"), removals.shown("composite", Composite.id))
    .order_by(Composite.id.desc())
    .limit(_USES)
)


def find(service: Service, query: Query) -> models.Cards:
    """One page of cards."""
    found = search_of(service).find(query)
    items = shelf_of(service).cards(found.ids, found.scores)
    return models.Cards(total=found.total, items=items, meaning=found.meaning, note=found.note)


def expert_row(session: Session, id: str, version: str | None = None) -> Any:
    """The row of ``version``, or the current one, or where all are yanked the newest; ``row`` is its id.

    :raises Refused: 404, there is no such expert, or not in this version, or it is in quarantine; 410 or 451, it was
        taken down.
    """
    return _chosen(session, session.execute(_ROWS, {"expert": id}).all(), id, version)


def _chosen(session: Session, rows: Sequence[Any], id: str, version: str | None) -> Any:
    same = None if version is None else _same(version)
    found = [row for row in rows if same in (None, row.Release.same)]
    if not found:
        _check_removed(session, id, same)
        raise not_found(f"expert {id!r}" + (f" in version {version}" if version else ""), _SEARCH)
    return max(found, key=lambda one: (one.current, Version(one.Release.version)))


def _check_removed(session: Session, id: str, same: str | None) -> None:
    """:raises Refused: 410 or 451, the expert was here."""
    removed = (
        select(Release)
        .join(Expert, Expert.release_id == Release.id)
        .where(Expert.expert == id, Release.state == removals.REMOVED)
        .order_by(Release.id.desc())
    )
    release = session.scalar((removed if same is None else removed.where(Release.same == same)).limit(1))
    if release is not None:
        removals.check_release(session, release, f"expert {id}" + (f" {release.version}" if same else ""))


def _same(version: str) -> str:
    try:
        return canonicalize_version(version_of(version))
    except InvalidVersion:
        raise not_found(f"version {version!r}", "it looks like 1.0.2; an expert's page lists them") from None


def detail(service: Service, id: str, version: str | None = None, base_url: str = "") -> models.Detail:
    """Everything about one version of an expert, by default the current one.

    :param base_url: of this service, without a slash at its end.
    :raises Refused: 404
    """
    with service.sessions.read() as session:
        rows = session.execute(_ROWS, {"expert": id}).all()
        chosen = _chosen(session, rows, id, version)
        row, release = chosen.row, chosen.Release
        spec: dict[str, Any] = session.scalars(_SPEC, {"row": row}).one()
        uses = session.execute(_USED, {"expert": id, "row": row})
        return models.Detail(
            **fields(chosen),
            domains=sorted({domain.lower() for domain in spec["domains"]}),
            languages=sorted({language.lower() for language in spec["languages"]}),
            spec=spec,
            spec_digest=canonical_digest(spec),
            versions=_versions([one.Release for one in rows]),
            file=models.File(
                filename=release.filename,
                url=f"{base_url}/files/{release.sha256}/{release.filename}",
                sha256=release.sha256,
                size=release.size,
                requires_python=release.requires_python,
            ),
            signature=_signature(session, release),
            evaluations=evaluations_of(session, row, spec),
            composites=[models.Use(**{**one._mapping, "exact": bool(one.exact)}) for one in uses],
        )


def _versions(releases: Sequence[Release]) -> list[models.Version]:
    """Newest first."""
    ordered = sorted(releases, key=lambda one: Version(one.version), reverse=True)
    return [
        models.Version(version=one.version, released=one.created, yanked=one.yanked, signed=one.bundle is not None)
        for one in ordered
    ]


def _signature(session: Session, release: Release) -> models.Signature | None:
    if release.bundle is None or release.statement is None or release.key is None:
        return None
    revoked = session.scalar(_REVOKED, {"key": release.key})
    return models.Signature(key=release.key, statement=release.statement, bundle=release.bundle, revoked=revoked)


def publisher_of(service: Service, name: str) -> models.PublisherDetail:
    """:raises Refused: 404"""
    with service.sessions.read() as session:
        publisher = session.scalar(select(Publisher).where(Publisher.name == name))
        if publisher is None:
            raise not_found(f"publisher {name!r}", _SEARCH)
        removals.check(session, "publisher", publisher.id, f"publisher {name}")
        keys = session.scalars(select(Key).where(Key.publisher_id == publisher.id).order_by(Key.id)).all()
        shown = select(Release.project_id).where(Release.state == "released")
        own = select(Project.name).where(Project.publisher_id == publisher.id, Project.id.in_(shown))
        projects = list(session.scalars(own.order_by(Project.name)))
    found = find(service, Query(publisher=name, limit=100))
    return models.PublisherDetail(
        name=publisher.name,
        title=publisher.title,
        created=publisher.created,
        total=found.total,
        experts=found.items,
        keys=[models.PublicKey.model_validate(key, from_attributes=True) for key in keys],
        projects=projects,
    )
