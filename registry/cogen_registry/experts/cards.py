"""From rows to cards: three statements for a page, whatever it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Domain, Expert, Language, Project, Release
from cogen_registry.experts.models import Base, Card

#: Everything of a card but domains and languages; the manifest, the text and the vector stay where they are.
COLUMNS = (
    Expert.id.label("row"), Expert.expert, Expert.title, Expert.summary, Expert.publisher, Expert.licence,
    Expert.lineage, Expert.base_name, Expert.architecture, Expert.parameters, Expert.relation, Expert.release_id,
    Release.version, Release.size, Release.created, Release.yanked, Release.key,
    Release.bundle.is_not(None).label("signed"), Project.name.label("project"),
)  # fmt: skip


#: Made once: to put a statement together takes as long as to run it.
_CARDS = (
    select(*COLUMNS)
    .join(Release, Expert.release_id == Release.id)
    .join(Project)
    .where(Expert.id.in_(bindparam("ids", expanding=True)))
)


def _list(owner: Any, value: Any) -> Any:
    return select(owner, value).where(owner.in_(bindparam("ids", expanding=True))).order_by(owner, value)


_DOMAINS, _LANGUAGES = _list(Domain.expert_id, Domain.name), _list(Language.expert_id, Language.tag)


def cards_of(session: Session, ids: Sequence[int], scores: Sequence[float] | None = None) -> list[Card]:
    """Cards of these rows of ``experts``, in their order."""
    found = {one.row: one for one in session.execute(_CARDS, {"ids": ids})}
    domains, languages = _lists(session, _DOMAINS, ids), _lists(session, _LANGUAGES, ids)
    score = dict(zip(ids, scores or [], strict=False))
    return [
        Card(**fields(found[id]), domains=domains[id], languages=languages[id], score=score.get(id))
        for id in ids
        if id in found
    ]


def fields(row: Any) -> dict[str, Any]:
    """What a row of :data:`COLUMNS` says of a card."""
    return {
        "id": row.expert,
        "version": row.version,
        "project": row.project,
        "title": row.title,
        "summary": row.summary,
        "publisher": row.publisher,
        "licence": row.licence,
        "base": Base(name=row.base_name, digest=row.lineage),
        "architecture": row.architecture,
        "parameters": row.parameters,
        "relation": row.relation,
        "size": row.size,
        "released": row.created,
        "signed": row.signed,
        "key": row.key,
        "yanked": row.yanked is not None,
    }


def _lists(session: Session, statement: Any, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for id, one in session.execute(statement, {"ids": ids}):
        found[id].append(one)
    return found
