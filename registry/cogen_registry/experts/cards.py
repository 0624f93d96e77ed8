"""From rows to cards: three statements for a page, whatever it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Domain, Expert, Language, Project, Release
from cogen_registry.experts.models import Card, CardBase
from cogen_registry.tag_cache import TagCache

if TYPE_CHECKING:
    from cogen_registry.service import Service

#: Everything of a card but domains and languages; the manifest, the text and the vector stay where they are.
COLUMNS = (
    Expert.id.label("row"),
    Expert.expert,
    Expert.title,
    Expert.summary,
    Expert.publisher,
    Expert.license,
    Expert.lineage,
    Expert.base_name,
    Expert.architecture,
    Expert.parameters,
    Expert.relation,
    Expert.release_id,
    Release.version,
    Release.size,
    Release.created,
    Release.yanked,
    Release.key,
    Release.code,
    Release.bundle.is_not(None).label("signed"),
    Project.name.label("project"),
)


#: Made once: to put a statement together takes as long as to run it.
_CARDS = (
    select(*COLUMNS)
    .join(Release, Expert.release_id == Release.id)
    .join(Project)
    .where(Expert.id.in_(bindparam("ids", expanding=True)))
)


#: Cards that are kept, of some KB each.
_KEPT = 4096


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


class Shelf:
    """Cards that were shown; the same few stand on most pages. One goes when its project changes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: TagCache[Card] = TagCache(_KEPT)
        service.follow(lambda heard: self._kept.drop(heard.tags), rank=1)

    def cards(self, ids: Sequence[int], scores: Sequence[float] | None = None) -> list[Card]:
        """As :func:`cards_of`."""
        stamp = self._kept.stamp()
        known = {id: card for id in ids if (card := self._kept.get(id)) is not None}
        if lacking := [id for id in ids if id not in known]:
            with self._service.sessions.read() as session:
                fresh = cards_of(session, lacking)
                if len(fresh) < len(lacking):  # somebody is gone: whose card is whose?
                    return cards_of(session, ids, scores)
            for id, card in zip(lacking, fresh, strict=True):
                known[id] = card
                self._kept.put(id, card, (f"project:{card.project}",), stamp)
        found = [known[id] for id in ids]
        if scores is None:
            return found
        return [card.model_copy(update={"score": score}) for card, score in zip(found, scores, strict=True)]


def shelf_of(service: Service) -> Shelf:
    """The one shelf of a service."""
    return service.components.get_or_make(Shelf, lambda: Shelf(service))


def fields(row: Any) -> dict[str, Any]:
    """What a row of :data:`COLUMNS` says of a card."""
    return {
        "id": row.expert,
        "version": row.version,
        "project": row.project,
        "title": row.title,
        "summary": row.summary,
        "publisher": row.publisher,
        "license": row.license,
        "base": CardBase(name=row.base_name, digest=row.lineage),
        "architecture": row.architecture,
        "parameters": row.parameters,
        "relation": row.relation,
        "size": row.size,
        "released": row.created,
        "signed": row.signed,
        "key": row.key,
        "code": row.code,
        "yanked": row.yanked is not None,
    }


def _lists(session: Session, statement: Any, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for id, one in session.execute(statement, {"ids": ids}):
        found[id].append(one)
    return found
