"""What a composite's lock says of its experts, held against the releases that are here.

A lock is its author's own text. "Checked" is said of an expert only where wheel, manifest, weights, publisher and key
are those of a release that everybody sees here, signed by a key that its publisher has not taken back. Everything else
is what somebody claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Expert, Ingredient, Key, Project, Publisher, Release

_LINKED = (
    select(
        Ingredient.expert,
        Release.version,
        Release.sha256,
        Release.key,
        Expert.publisher,
        Expert.spec,
        Project.name.label("project"),
        Publisher.name.label("owner_of_key"),
    )
    .join(Expert, Ingredient.expert_id == Expert.id)
    .join(Release, Expert.release_id == Release.id)
    .join(Project, Release.project_id == Project.id)
    .outerjoin(Key, (Key.fingerprint == Release.key) & Key.revoked.is_(None))
    .outerjoin(Publisher, Key.publisher_id == Publisher.id)
    .where(Ingredient.composite_id == bindparam("composite"), Release.state == "released")
)


@dataclass(frozen=True)
class Standing:
    """``here``: this very manifest in this version can be seen here; ``checked``: and all else is as the lock says."""

    here: bool
    checked: bool


NOWHERE = Standing(here=False, checked=False)


def standings(session: Session, composite: int, lock: dict[str, Any]) -> dict[str, Standing]:
    """Of each expert of the plan, by its id."""
    linked = {row.expert: row for row in session.execute(_LINKED, {"composite": composite})}
    sources = lock.get("sources") or {}
    found = {}
    for planned in lock["plan"]["experts"]:
        row = linked.get(planned["id"])
        here = row is not None and row.version == planned["version"]
        found[planned["id"]] = Standing(here, here and _same(row, planned, sources.get(planned["id"]) or {}))
    return found


def _same(row: Any, planned: dict[str, Any], source: dict[str, Any]) -> bool:
    """Is everything that the lock says of where an expert came from true of this release?"""
    if row.key is None or row.owner_of_key is None:
        return False
    claimed = (
        source.get("key"),
        source.get("publisher"),
        source.get("sha256"),
        source.get("version"),
        canonicalize_name(source.get("distribution") or ""),
        canonicalize_name(planned["distribution"]),
        planned["weights_digest"],
    )
    true = (row.key, row.publisher, row.sha256, row.version, row.project, row.project, _weights(row.spec))
    return claimed == true and row.owner_of_key == row.publisher


def _weights(spec: dict[str, Any]) -> Any:
    return (spec.get("model") or {}).get("weights_digest")
