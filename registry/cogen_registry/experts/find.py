"""Lists of experts, and everything about one: for the API and for the pages."""

from __future__ import annotations

from typing import Any

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen.spec.expert import canonical_digest
from cogen_registry.database.tables import Composite, Expert, Ingredient, Key, Publisher, Release
from cogen_registry.errors import missing
from cogen_registry.experts import models
from cogen_registry.experts.cards import cards_of
from cogen_registry.experts.evaluations import evaluations_of
from cogen_registry.search.index import Query, search_of
from cogen_registry.service import Service

#: Composites that an expert's page names.
_USES = 20


def find(service: Service, query: Query) -> models.Cards:
    """One page of cards."""
    found = search_of(service).find(query)
    with service.sessions.read() as session:
        items = cards_of(session, found.ids, found.scores)
    return models.Cards(total=found.total, items=items, meaning=found.meaning, note=found.note)


def expert_row(session: Session, id: str, version: str | None = None) -> Any:
    """(id of ``experts``, Release): of ``version``, or the current one, or where all are yanked the newest.

    :raises Refused: 404, there is no such expert, or not in this version, or it is in quarantine.
    """
    statement = (
        select(Expert.id, Expert.current, Release)
        .join(Release, Expert.release_id == Release.id)
        .where(Expert.expert == id, Release.state == "released")
    )
    if version is not None:
        statement = statement.where(Release.same == _same(version))
    found = session.execute(statement).all()
    if not found:
        raise missing(f"expert {id!r}" + (f" in version {version}" if version else ""))
    return max(found, key=lambda one: (one.current, Version(one.Release.version)))


def _same(version: str) -> str:
    try:
        return canonicalize_version(Version(version))
    except InvalidVersion:
        raise missing(f"version {version!r}") from None


def detail(service: Service, id: str, version: str | None = None, base_url: str = "") -> models.Detail:
    """Everything about one version of an expert, by default the current one.

    :param base_url: of this service, without a slash at its end.
    :raises Refused: 404
    """
    with service.sessions.read() as session:
        row, _, release = expert_row(session, id, version)
        card = cards_of(session, [row])[0]
        spec = session.scalar(select(Expert.spec).where(Expert.id == row))
        return models.Detail(
            **card.model_dump(exclude={"score"}),
            spec=spec,
            spec_digest=canonical_digest(spec),
            versions=_versions(session, id),
            file=models.File(
                filename=release.filename,
                url=f"{base_url}/files/{release.sha256}/{release.filename}",
                sha256=release.sha256,
                size=release.size,
                requires_python=release.requires_python,
            ),
            signature=_signature(session, release),
            evaluations=evaluations_of(session, row, spec),
            composites=_uses(session, id, row),
        )


def _versions(session: Session, id: str) -> list[models.Version]:
    """Newest first."""
    found = session.execute(
        select(Release.version, Release.created, Release.yanked, Release.bundle.is_not(None).label("signed"))
        .join(Expert, Expert.release_id == Release.id)
        .where(Expert.expert == id, Release.state == "released")
    )
    ordered = sorted(found, key=lambda one: Version(one.version), reverse=True)
    return [
        models.Version(version=one.version, released=one.created, yanked=one.yanked, signed=one.signed)
        for one in ordered
    ]


def _signature(session: Session, release: Release) -> models.Signature | None:
    if release.bundle is None or release.statement is None or release.key is None:
        return None
    revoked = session.scalar(select(Key.revoked).where(Key.fingerprint == release.key))
    return models.Signature(key=release.key, statement=release.statement, bundle=release.bundle, revoked=revoked)


def _uses(session: Session, id: str, row: int) -> list[models.Use]:
    """The newest composites that were made from any version of this expert."""
    columns = (Publisher.name.label("publisher"), Composite.name, Composite.version, Composite.title)
    found = session.execute(
        select(*columns, (Ingredient.expert_id == row).label("exact"))
        .join(Composite, Ingredient.composite_id == Composite.id)
        .join(Publisher, Composite.publisher_id == Publisher.id)
        .where(Ingredient.expert == id)
        .order_by(Composite.id.desc())
        .limit(_USES)
    )  # fmt: skip
    return [
        models.Use(**{**one._mapping, "exact": bool(one.exact)})
        for one in found
    ]  # fmt: skip


def publisher_of(service: Service, name: str) -> models.Publisher:
    """:raises Refused: 404"""
    with service.sessions.read() as session:
        publisher = session.scalar(select(Publisher).where(Publisher.name == name))
        if publisher is None:
            raise missing(f"publisher {name!r}")
        keys = session.scalars(select(Key).where(Key.publisher_id == publisher.id).order_by(Key.id)).all()
    found = find(service, Query(publisher=name, limit=100))
    return models.Publisher(
        name=publisher.name, title=publisher.title, created=publisher.created, total=found.total, experts=found.items,
        keys=[models.PublicKey.model_validate(key, from_attributes=True) for key in keys],
    )  # fmt: skip
