"""What of every current expert is kept in memory: facets for filters, orders, and the vectors.

A row stands for one expert of one release. Rows are added at the end; who is no longer current is marked. All of it is
filled from the database and follows it: nothing here is the only copy of anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Domain, Expert, Language
from cogen_registry.search.columns import Column, Facet

FACETS = ("domain", "language", "licence", "base", "publisher")
ORDERS = ("newest", "name", "smallest", "largest")
#: Experts that one statement asks for by id.
_BATCH = 500
_COLUMNS = (
    Expert.id, Expert.expert, Expert.parameters, Expert.licence, Expert.base_name, Expert.lineage, Expert.publisher,
    Expert.vector,
)  # fmt: skip


class Catalogue:
    """See the module. One writer at a time; readers need no lock: they look at rows up to a length they took first."""

    def __init__(self) -> None:
        self.ids, self.parameters = Column(np.int64), Column(np.int64)
        self.alive, self.embedded = Column(bool), Column(bool)
        self.vectors: Column | None = None
        self.names: list[str] = []
        self.rows: dict[int, int] = {}
        self.facets = {name: Facet() for name in FACETS}
        self._orders: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        """Of rows, those that are no longer current with them."""
        return len(self.alive.values)

    def follow(self, session: Session) -> None:
        """Add who became current, mark who no longer is."""
        if not len(self):
            self._add(session, Expert.current)
        else:
            current = np.fromiter(session.scalars(select(Expert.id).where(Expert.current)), np.int64)
            self.alive.values[:] = np.isin(self.ids.values, current)
            added = current[~np.isin(current, self.ids.values)].tolist()
            for start in range(0, len(added), _BATCH):
                self._add(session, Expert.id.in_(added[start : start + _BATCH]))
        self._orders = {}

    def _add(self, session: Session, which: Any) -> None:
        found = session.execute(select(*_COLUMNS).where(which).order_by(Expert.id)).all()
        first = len(self)
        rows = {one.id: row for row, one in enumerate(found, first)}
        self.facets["licence"].extend((rows[one.id], name) for one in found for name in _licences(one.licence))
        self.facets["base"].extend((rows[one.id], name) for one in found for name in _bases(one))
        self.facets["publisher"].extend((rows[one.id], one.publisher) for one in found)
        domains = session.execute(select(Domain.expert_id, Domain.name).join(Expert).where(which))
        self.facets["domain"].extend((rows[id], name) for id, name in domains if id in rows)
        languages = session.execute(select(Language.expert_id, Language.tag).join(Expert).where(which))
        # "en-GB" is English too.
        tags = {(rows[id], name) for id, tag in languages if id in rows for name in (tag, tag.partition("-")[0])}
        self.facets["language"].extend(tags)
        self.rows |= rows
        self.names += [one.expert for one in found]
        self.ids.extend([one.id for one in found])
        self.parameters.extend([one.parameters for one in found])
        self.embedded.extend(np.zeros(len(found), bool))
        if self.vectors is not None:
            self.vectors.extend(np.zeros((len(found), self.vectors.values.shape[1]), np.float32))
        kept = [one for one in found if one.vector]
        if kept:
            width = len(kept[0].vector)
            kept = [one for one in kept if len(one.vector) == width]
            matrix = np.frombuffer(b"".join(one.vector for one in kept), "<f4").reshape(len(kept), -1)
            self.embed([one.id for one in kept], matrix)
        self.alive.extend(np.ones(len(found), bool))  # last: it says how many there are

    def embed(self, ids: Sequence[int], vectors: np.ndarray) -> None:
        """Take the vectors of experts, shape (ids, dimensions); ids that are not here are left out."""
        length = len(self.ids.values)
        if self.vectors is None or self.vectors.values.shape[1] != vectors.shape[1]:
            self.vectors = Column(np.float32, vectors.shape[1])
            self.vectors.extend(np.zeros((length, vectors.shape[1]), np.float32))
            self.embedded.values[:] = False
        here = [(place, self.rows[id]) for place, id in enumerate(ids) if id in self.rows]
        rows = [row for _, row in here]
        self.vectors.values[rows] = vectors[[place for place, _ in here]]
        self.embedded.values[rows] = True

    def forget_vectors(self) -> None:
        self.vectors = None
        self.embedded.values[:] = False

    def missing(self, limit: int) -> list[int]:
        """Ids of current experts without a vector."""
        rows = np.flatnonzero(self.alive.values & ~self.embedded.values[: len(self)])[:limit]
        found: list[int] = self.ids.values[rows].tolist()
        return found

    def order(self, name: str) -> np.ndarray:
        """Every row, in one of :data:`ORDERS`; equal ones by name, then the newer first."""
        known = self._orders.get(name)
        if known is None or len(known) != len(self):
            length = len(self)
            newest = -self.ids.values[:length]
            alphabet = np.argsort(np.argsort(np.array(self.names[:length], dtype=object), kind="stable"))
            size = self.parameters.values[:length]
            first = {"newest": newest, "name": alphabet, "smallest": size, "largest": -size}[name]
            known = self._orders[name] = np.lexsort((newest, alphabet, first))
        return known


def _licences(expression: str) -> set[str]:
    """The expression, and where one may choose, each of the choices."""
    return {expression, *(() if " AND " in expression or "(" in expression else expression.split(" OR "))}


def _bases(expert: Any) -> Iterable[str]:
    """Its base by name and by digest, with and without what kind of digest it is."""
    return {(expert.base_name or "").lower(), expert.lineage, expert.lineage.removeprefix("sha256:")} - {""}
