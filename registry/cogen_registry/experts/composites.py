"""Composites that somebody made from experts: lock and card, no weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from cogen.artifacts.lock import LOCK_NAME, Lock
from cogen.spec.expert import canonical_digest
from cogen_registry.admission import locks
from cogen_registry.admission.pool import pool_of
from cogen_registry.admission.quota import check_total
from cogen_registry.admission.rules import check_prohibited, consented
from cogen_registry.audit import log, removals
from cogen_registry.auth import Principal, confirm
from cogen_registry.database.tables import Composite, Expert, Ingredient, Publisher, Release
from cogen_registry.errors import Refused, not_found
from cogen_registry.experts import models, shown_figures, tombstones
from cogen_registry.experts.standing import standings
from cogen_registry.service import Service

#: Versions of one composite.
MOST = 1000


def add(service: Service, principal: Principal, new: models.NewComposite) -> tuple[models.CompositeDetail, bool]:
    """A new version of a composite; the newest one again is no new one. (the composite, is it new?)

    :raises Refused: 422, the lock is none; 429
    """
    with _written(new.lock) as path:
        size = path.stat().st_size
        named = pool_of(service.settings.limits).run("lock", {"path": str(path)}, size)["experts"]
    mine = (Composite.publisher_id == principal.id, Composite.name == new.name)
    with service.sessions.write() as session:
        confirm(session, principal)
        newest = session.scalar(select(Composite).where(*mine).order_by(Composite.version.desc()).limit(1))
        if newest is not None:
            removals.check(session, "composite", newest.id, f"{principal.name}/{new.name}")
        same = newest is not None and (newest.lock, newest.card, newest.title) == (new.lock, new.card, new.title)
        if not same:
            last = tombstones.last(session, "composite", f"{principal.name}/{new.name}/")
            if newest is None and not consented(session, new.name, principal.id):
                check_prohibited(session, new.name)
            version = max(newest.version if newest else 0, last) + 1
            if version > MOST:
                raise Refused(429, f"{new.name} has {MOST} versions already", hint="choose another name")
            taken = size + len(new.card.encode())
            check_total(session, service.settings.limits, principal.id, taken, 1 + len(named))
            made = Composite(
                publisher_id=principal.id,
                name=new.name,
                version=version,
                title=new.title,
                lock=new.lock,
                card=new.card,
                size=taken,
            )
            session.add(made)
            session.flush()
            session.add_all(_ingredients(session, made.id, named))
            service.change(session, "composite", f"{principal.name}/{new.name}")
            for id, _, _ in named:  # their pages name it
                service.change(session, "expert", id)
            subject = f"{principal.name}/{new.name} {version}"
            log.record(session, log.actor_of(principal), "composite.add", subject, plan_digest=new.lock["plan_digest"])
    if not same:
        service.changed()
    return one(service, principal.name, new.name), not same


def check_lock(value: dict[str, Any]) -> Lock:
    """See :func:`cogen_registry.admission.locks.read`; for a lock that was accepted before."""
    with _written(value) as path:
        return locks.read(path)


@contextmanager
def _written(value: dict[str, Any]) -> Iterator[Path]:
    """A lock as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / LOCK_NAME
        try:
            path.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
        except (ValueError, RecursionError) as error:
            hint = "send it as `cogen fuse` wrote it"
            raise Refused(422, f"the lock can't be read: {error}", hint=hint) from error
        yield path


def _ingredients(session: Session, composite: int, named: list[tuple[str, str, str]]) -> list[Ingredient]:
    """Its experts; linked to ours where id and digest of the manifest are equal, the same version before others.

    :param named: (id, version, digest of the manifest) of each.
    """
    made = []
    for id, expert_version, digest in named:
        rows = session.execute(
            select(Expert.id, Expert.spec)
            .join(Release, Expert.release_id == Release.id)
            .where(Expert.expert == id, Release.state == "released")
            .order_by(Release.version != expert_version, Release.id)
        )
        same = (row.id for row in rows if canonical_digest(row.spec) == digest)
        made.append(
            Ingredient(
                composite_id=composite,
                expert=id,
                version=expert_version,
                spec_digest=digest,
                expert_id=next(same, None),
            )
        )
    return made


def _all() -> Select[*tuple[Any, ...]]:
    return (
        select(Composite, Publisher.name.label("publisher"))
        .join(Publisher, Composite.publisher_id == Publisher.id)
        .where(removals.shown("composite", Composite.id))
    )


def listed(
    service: Service, publisher: str | None = None, expert: str | None = None, limit: int = 20, offset: int = 0
) -> models.Composites:
    """The newest version of each composite, the newest first."""
    newest = (
        select(func.max(Composite.id))
        .where(removals.shown("composite", Composite.id))
        .group_by(Composite.publisher_id, Composite.name)
    )
    statement = _all().where(Composite.id.in_(newest))
    if publisher:
        statement = statement.where(Publisher.name == publisher)
    if expert:
        uses = select(Ingredient.composite_id).where(Ingredient.expert == expert)
        statement = statement.where(Composite.id.in_(uses))
    with service.sessions.read() as session:
        total = session.scalar(select(func.count()).select_from(statement.subquery())) or 0
        found = session.execute(statement.order_by(Composite.id.desc()).limit(limit).offset(offset))
        items = [models.CompositeCard(**_fields(session, row.Composite, row.publisher)) for row in found]
    return models.Composites(total=total, items=items)


def one(service: Service, publisher: str, name: str, version: int | None = None) -> models.CompositeDetail:
    """:raises Refused: 404; 410 or 451, it was deleted by its publisher, or taken down"""
    statement = _all().where(Publisher.name == publisher, Composite.name == name).order_by(Composite.version.desc())
    with service.sessions.read() as session:
        found = session.execute(statement).all()
        row = next((row for row in found if version in (None, row.Composite.version)), None)
        if row is None:
            _check_gone(session, publisher, name, version)
            raise not_found(
                f"composite {publisher}/{name}" + (f" in version {version}" if version else ""),
                "/api/v1/composites lists them",
            )
        return models.CompositeDetail(
            **_fields(session, row.Composite, publisher),
            lock=row.Composite.lock,
            card=row.Composite.card,
            versions=[other.Composite.version for other in found],
            private=shown_figures.figures_of_model(session, row.Composite.lock["weights_digest"], row.Composite.id),
        )


def remove(service: Service, principal: Principal, name: str, version: int | None = None) -> list[int]:
    """Delete a composite of one's own, or one version of it; the versions that are gone. Their numbers stay taken.

    :raises Refused: 404, there is none; 410 or 451, it was deleted or taken down.
    """
    mine = select(Composite).where(Composite.publisher_id == principal.id, Composite.name == name)
    if version is not None:
        mine = mine.where(Composite.version == version)
    with service.sessions.write() as session:
        confirm(session, principal)
        rows = session.scalars(mine.where(removals.shown("composite", Composite.id)).order_by(Composite.version)).all()
        if not rows:
            _check_gone(session, principal.name, name, version)
            raise not_found(
                f"composite {principal.name}/{name}", "/api/v1/composites lists them; you can delete your own"
            )
        for row in rows:
            service.change(session, "composite", f"{principal.name}/{name}")
            for expert in session.scalars(select(Ingredient.expert).where(Ingredient.composite_id == row.id)):
                service.change(session, "expert", expert)
            session.execute(delete(Ingredient).where(Ingredient.composite_id == row.id))
            session.delete(row)
            tombstones.add(session, "composite", f"{principal.name}/{name}/{row.version}", row.version)
        gone = [row.version for row in rows]
        log.record(session, log.actor_of(principal), "composite.delete", f"{principal.name}/{name}", versions=gone)
    service.changed()
    return gone


def _check_gone(session: Session, publisher: str, name: str, version: int | None) -> None:
    """:raises Refused: 410 or 451, it was there once."""
    what = f"composite {publisher}/{name}" + (f" in version {version}" if version else "")
    known = (select(Composite.id).join(Publisher).where(Publisher.name == publisher, Composite.name == name)).order_by(
        Composite.version.desc()
    )
    if version is not None:
        known = known.where(Composite.version == version)
    for row in session.scalars(known):
        removals.check(session, "composite", row, what)
    tombstones.check(session, "composite", f"{publisher}/{name}/" + (str(version) if version else ""), what)


def _fields(session: Session, composite: Composite, publisher: str) -> dict[str, Any]:
    plan = composite.lock["plan"]
    known = standings(session, composite.id, composite.lock)
    parts = [
        models.CompositeExpert(
            id=expert["id"],
            version=expert["version"],
            spec_digest=expert["spec_digest"],
            weights_digest=expert["weights_digest"],
            publisher=expert["publisher"],
            here=known[expert["id"]].here,
            checked=known[expert["id"]].checked,
        )
        for expert in plan["experts"]
    ]
    return {
        "publisher": publisher,
        "name": composite.name,
        "version": composite.version,
        "title": composite.title,
        "strategy": plan["strategy"],
        "method": plan["method"],
        "created": composite.created,
        "experts": parts,
    }
