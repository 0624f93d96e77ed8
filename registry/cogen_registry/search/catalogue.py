"""What of every current expert is kept in memory: facets for filters, orders, and the vectors.

A row stands for one expert of one release. Rows are added at the end; who is no longer current is marked. All of it is
filled from the database and follows it: nothing here is the only copy of anything.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Domain, Expert, Language, Project, Release
from cogen_registry.search.columns import Column, Facet

FACETS = ("domain", "language", "license", "base", "publisher")
ORDERS = ("newest", "name", "smallest", "largest")
#: Rows that are read at once.
_PART = 2000
_COLUMNS = (
    Expert.id,
    Expert.expert,
    Expert.parameters,
    Expert.license,
    Expert.base_name,
    Expert.lineage,
    Expert.publisher,
    Release.project_id,
)
_VECTORS = select(Expert.id, Expert.vector).where(Expert.vector.is_not(None))


class Catalogue:
    """See the module. One writer at a time; readers need no lock: they look at rows up to a length they took first."""

    def __init__(self) -> None:
        self.ids, self.parameters = Column(np.int64), Column(np.int64)
        self.alive, self.embedded = Column(bool), Column(bool)
        #: The project that a row belongs to, and a hash of what is known of it: another one, and it is another row.
        self.owners, self.marks = Column(np.int32), Column(np.int64)
        self.vectors: Column | None = None
        self.names: list[str] = []
        self.rows: dict[int, int] = {}
        widen: dict[str, Callable[[Any], set[str]]] = {"language": _languages, "license": _licenses, "base": _bases}
        self.facets = {name: Facet(widen[name]) if name in widen else Facet() for name in FACETS}
        self._orders: dict[str, np.ndarray] = {}
        #: Held by the writer, and by who makes an order or counts for the first time.
        self.lock = threading.RLock()

    def __len__(self) -> int:
        """Of rows, those that are no longer current with them."""
        return len(self.alive.values)

    def read(self, session: Session) -> None:
        """Everybody who is current, into an empty catalogue."""
        rows = self._add(session, Expert.current)
        self.alive.replace(np.ones(len(rows), bool))

    def follow(self, session: Session, projects: Sequence[str]) -> tuple[list[int], list[int]]:
        """Take in what changed of these projects: (rows that are no longer current, rows that are now)."""
        with self.lock:
            statement = select(*_COLUMNS).join(Release, Expert.release_id == Release.id).join(Project)
            owners = np.fromiter(session.scalars(select(Project.id).where(Project.name.in_(projects))), np.int32)
            current = {
                one.id: _mark(one)
                for one in session.execute(statement.where(Project.name.in_(projects), Expert.current))
            }
            known = np.flatnonzero(np.isin(self.owners.values, owners)).tolist()
            there = {id: row for row in known if current.get(id := int(self.ids.values[row])) == self.marks.values[row]}
            same, alive = set(there.values()), self.alive.values.copy()
            gone = [row for row in known if alive[row] and row not in same]
            come = [row for row in same if not alive[row]]
            added = [id for id in current if id not in there]
            alive[gone], alive[come] = False, True
            self.rows.update(there)
            fresh = self._add(session, Expert.id.in_(added)) if added else range(0)
            come += fresh
            for facet in self.facets.values():
                facet.recount(gone, come)
            for name in self._orders:
                self._insert(name, fresh)
            if fresh and self.vectors is not None:
                self.take(session.execute(_VECTORS.where(Expert.id.in_(added))).all())
            self.alive.replace(
                np.concatenate([alive, np.ones(len(fresh), bool)])
            )  # last: now they are seen, and at once
            return gone, come

    def _add(self, session: Session, which: Any) -> range:
        """New rows, which nobody sees before ``alive`` is as long."""
        first = len(self.names)
        # In parts: a hundred thousand rows as objects would need more memory than all that is kept of them.
        statement = select(*_COLUMNS).join(Release, Expert.release_id == Release.id)
        for part in _parts(session, statement.where(which).order_by(Expert.id)):
            ids, names, parameters, licenses, bases, lineages, publishers, owners = zip(*part, strict=True)
            rows = range(len(self.names), len(self.names) + len(part))
            self.rows.update(zip(ids, rows, strict=True))
            self.names += names
            self.ids.extend(ids)
            self.parameters.extend(parameters)
            self.owners.extend(owners)
            self.marks.extend([_mark(one) for one in part])
            self.facets["publisher"].extend(rows, publishers)
            self.facets["license"].extend(rows, licenses)
            self.facets["base"].extend(rows, list(zip(bases, lineages, strict=True)))
        added = self.ids.values[first:]
        for name, owner, value in (
            ("domain", Domain.expert_id, Domain.name),
            ("language", Language.expert_id, Language.tag),
        ):
            for part in _parts(session, select(owner, value).join(Expert).where(which)):
                ids, values = zip(*part, strict=True)
                places = np.minimum(np.searchsorted(added, ids), max(0, len(added) - 1))
                here = added[places] == ids if len(added) else np.zeros(len(ids), bool)  # who came in between is not
                kept = np.flatnonzero(here)
                self.facets[name].extend(first + places[kept], [values[at] for at in kept])
        self.embedded.extend(np.zeros(len(added), bool))
        if self.vectors is not None:
            self.vectors.extend(np.zeros((len(added), self.vectors.values.shape[1]), np.float32))
        return range(first, len(self.names))

    def _insert(self, name: str, rows: Iterable[int]) -> None:
        """New rows into an order that is there."""
        order, key = self._orders[name], self.key(name)
        for row in rows:
            order = np.insert(order, bisect.bisect_left(order, key(row), key=key), row)
        self._orders[name] = order

    def key(self, name: str) -> Callable[[Any], tuple[Any, ...]]:
        """What rows are sorted by in one of :data:`ORDERS`."""
        ids, names, sizes = self.ids.values, self.names, self.parameters.values
        if name == "newest":
            return lambda row: (-ids[row],)
        if name == "name":
            return lambda row: (names[row], -ids[row])
        sign = 1 if name == "smallest" else -1
        return lambda row: (sign * sizes[row], names[row], -ids[row])

    def read_vectors(self, session: Session, ids: Sequence[int] | None = None) -> None:
        """Those that the database has: of these experts, or of all. That is much the longest part of a start."""
        which = Expert.current if ids is None else Expert.id.in_(ids)
        for part in _parts(session, _VECTORS.where(which)):
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
            self.vectors.reserve(2 * len(self.ids.values))  # to copy it later would need its memory twice
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
        """Rows in one of :data:`ORDERS`, those that are no longer current too; equal ones by name, then the newer.

        There may be rows in it that are younger than a length that was taken before.
        """
        if (known := self._orders.get(name)) is not None:
            return known
        with self.lock:
            length = len(self.names)
            newest = -self.ids.values[:length]
            alphabet = np.unique(np.array(self.names[:length], dtype=object), return_inverse=True)[1]
            size = self.parameters.values[:length]
            first = {"newest": newest, "name": alphabet, "smallest": size, "largest": -size}[name]
            known = self._orders[name] = np.lexsort((newest, alphabet, first)).astype(np.int32)
            return known


def _mark(row: Any) -> int:
    """Of a row of ``_COLUMNS``; equal within this process alone."""
    return hash(tuple(row))


def _languages(tag: str) -> set[str]:
    """en-GB is English too."""
    return {tag, tag.partition("-")[0]}


def _licenses(expression: str) -> set[str]:
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
