"""What of every current expert is kept in memory: facets for filters, orders, and the vectors.

A row stands for one expert of one release. Rows are added at the end; who is no longer current is marked. All of it is
filled from the database and follows it: nothing here is the only copy of anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
#: Rows that are read at once.
_PART = 2000
_COLUMNS = (
    Expert.id, Expert.expert, Expert.parameters, Expert.licence, Expert.base_name, Expert.lineage, Expert.publisher,
)  # fmt: skip


class Catalogue:
    """See the module. One writer at a time; readers need no lock: they look at rows up to a length they took first."""

    def __init__(self) -> None:
        self.ids, self.parameters = Column(np.int64), Column(np.int64)
        self.alive, self.embedded = Column(bool), Column(bool)
        self.vectors: Column | None = None
        self.names: list[str] = []
        self.rows: dict[int, int] = {}
        widen = {"language": _languages, "licence": _licences, "base": _bases}
        self.facets = {name: Facet(widen[name]) if name in widen else Facet() for name in FACETS}
        #: State of the service that this is of.
        self.serial = -1
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
        first = len(self)
        # In parts: a hundred thousand rows as objects would need more memory than all that is kept of them.
        for part in _parts(session, select(*_COLUMNS).where(which).order_by(Expert.id)):
            ids, names, parameters, licences, bases, lineages, publishers = zip(*part, strict=True)
            rows = range(len(self.names), len(self.names) + len(part))
            self.rows.update(zip(ids, rows, strict=True))
            self.names += names
            self.ids.extend(ids)
            self.parameters.extend(parameters)
            self.facets["publisher"].extend(rows, publishers)
            self.facets["licence"].extend(rows, licences)
            self.facets["base"].extend(rows, list(zip(bases, lineages, strict=True)))
        added = self.ids.values[first:]
        for name, owner, value in (
            ("domain", Domain.expert_id, Domain.name),
            ("language", Language.expert_id, Language.tag),
        ):
            for part in _parts(session, select(owner, value).join(Expert).where(which)):
                ids, values = zip(*part, strict=True)
                self.facets[name].extend(first + np.searchsorted(added, ids), values)
        self.embedded.extend(np.zeros(len(added), bool))
        if self.vectors is not None:
            self.vectors.extend(np.zeros((len(added), self.vectors.values.shape[1]), np.float32))
        self.alive.extend(np.ones(len(added), bool))  # last: it says how many there are

    def read_vectors(self, session: Session) -> None:
        """Those that the database has of current experts. Much the longest part of a start, so not part of it."""
        for part in _parts(session, select(Expert.id, Expert.vector).where(Expert.current, Expert.vector.is_not(None))):
            self.take(part)

    def take(self, vectors: Sequence[Any]) -> None:
        """(id, float32 as bytes) of experts; ids that are not here are left out.

        All are of one length. The first of another length than before begins the matrix anew.
        """
        here = [(self.rows[id], vector) for id, vector in vectors if id in self.rows]
        if not here:
            return
        matrix = np.frombuffer(b"".join(vector for _, vector in here), "<f4").reshape(len(here), -1)
        if self.vectors is None or self.vectors.values.shape[1] != matrix.shape[1]:
            self.vectors = Column(np.float32, matrix.shape[1])
            self.vectors.extend(np.zeros((len(self.ids.values), matrix.shape[1]), np.float32))
            self.embedded.values[:] = False
        rows = [row for row, _ in here]
        self.vectors.values[rows] = matrix
        self.embedded.values[rows] = True

    def forget_vectors(self) -> None:
        self.vectors = None
        self.embedded.values[:] = False

    def missing(self, limit: int) -> list[int]:
        """Ids of current experts without a vector."""
        alive = self.alive.values
        rows = np.flatnonzero(alive & ~self.embedded.values[: len(alive)])[:limit]
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


def _languages(tag: str) -> set[str]:
    """en-GB is English too."""
    return {tag, tag.partition("-")[0]}


def _licences(expression: str) -> set[str]:
    """The expression, and where one may choose, each of the choices."""
    return {expression, *(() if " AND " in expression or "(" in expression else expression.split(" OR "))}


def _bases(base: tuple[str | None, str]) -> set[str]:
    """A base by its name and by its digest, with and without what kind of digest it is."""
    name, digest = base
    return {name or digest, digest, digest.removeprefix("sha256:")}


def _parts(session: Session, statement: Any) -> Iterator[Sequence[Any]]:
    """The rows of an answer, some thousands at a time."""
    # The connection's own answer: nothing of it is made into objects first.
    return iter(session.connection().execute(statement, execution_options={"yield_per": _PART}).partitions())
