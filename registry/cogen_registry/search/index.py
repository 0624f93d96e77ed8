"""Search: by words and by meaning, joined by reciprocal ranks; filters and orders without a query."""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cogen_registry.search import full_text
from cogen_registry.search.catalogue import FACETS, Catalogue
from cogen_registry.search.embedder import FLOOR, Embedder

if TYPE_CHECKING:
    from cogen_registry.news import Heard
    from cogen_registry.service import Service

#: Reciprocal rank fusion: 1 / (K + rank). Cormack, Clarke and Büttcher, SIGIR 2009.
K = 60
#: Places of each list that count; a search finds at most twice as many.
DEPTH = 200
_UNREAD = "the registry's embedding model does not know the language of this query: it was searched by words alone"
#: Below this share of rows it is quicker to take them out than to multiply them all.
_FEW = 0.2
#: So many ids are sent to the database with a query.
_NARROW = 10_000
#: Filtered lists that are kept, of four bytes an expert at the most.
_LISTS = 64


@dataclass(frozen=True)
class Query:
    """What is asked for. ``sort``: "relevance" (with ``q``) or one of catalogue.ORDERS; "" is the fitting one."""

    q: str = ""
    domain: str | None = None
    language: str | None = None
    license: str | None = None
    base: str | None = None
    publisher: str | None = None
    size: tuple[float, float] | None = None
    sort: str = ""
    limit: int = 20
    offset: int = 0


@dataclass(frozen=True)
class SearchResult:
    """``ids`` of table ``experts``, one page of ``total``; ``scores`` where there was a query.

    ``meaning``: was it searched by meaning too? If not, ``note`` says why.
    """

    total: int
    ids: list[int]
    scores: list[float] | None = None
    meaning: bool = False
    note: str | None = None


class Search:
    """Follows what changes as it is heard of; whoever searches waits for nothing."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.embedder = Embedder(service.settings.embedder)
        self.catalogue = Catalogue()
        #: Held by who changes the catalogue; who begins to read a new one stays out of everybody's way.
        self.lock = threading.RLock()
        self._read = False
        #: Are the database's vectors of our own model?
        self.adopted = False
        self._lists: OrderedDict[Query, np.ndarray] = OrderedDict()
        self._keeping = threading.Lock()
        service.follow(self.hear, rank=0)

    def fresh(self) -> Catalogue:
        """The catalogue; it is read by whoever comes first, and followed from then on."""
        if not self._read:
            with self.lock:
                if not self._read:
                    self._begin()
        return self.catalogue

    def _begin(self) -> None:
        """Read everything: seconds, where there are many."""
        old, catalogue = self.catalogue, Catalogue()
        with self.service.sessions.read() as session:
            catalogue.read(session)
            if old.vectors is not None:
                catalogue.read_vectors(session)
        with self._keeping:
            self.catalogue, self._read = catalogue, True  # whole, or not yet
            self._lists.clear()

    def hear(self, heard: Heard) -> None:
        """Take in what changed: who came, who went, who got a vector."""
        with self.lock:
            if not self._read:  # it will be as new as it can be when it is read
                return
            if heard.tags is None or self._shrunk():
                self._begin()
                return
            catalogue = self.catalogue
            if projects := heard.keys("project"):
                gone, come = catalogue.follow(heard.session, projects)
                for row in gone:
                    bases = catalogue.facets["base"].names(row)
                    heard.tags |= {f"expert:{catalogue.names[row]}", *(f"lineage:{base}" for base in bases)}
                with self._keeping:
                    self._patch(gone, come)
            if heard.keys("embedder"):
                self.adopted = False  # until the worker has seen whose vectors they are now
                catalogue.forget_vectors()
            elif self.adopted and (rows := [int(id) for key in heard.keys("vector") for id in key.split(",")]):
                catalogue.read_vectors(heard.session, rows)

    def _patch(self, gone: list[int], come: list[int]) -> None:
        """Change the lists that are kept by a few rows, instead of making them anew."""
        catalogue = self.catalogue
        names = {row: {facet: catalogue.facets[facet].names(row) for facet in FACETS} for row in come}
        for query, rows in self._lists.items():
            if gone:
                rows = rows[~np.isin(rows, gone)]
            key = catalogue.key(_order(query))
            for row in come:
                if _passes(query, names[row], int(catalogue.parameters.values[row])):
                    rows = np.insert(rows, bisect.bisect_left(rows, key(row), key=key), row)
            self._lists[query] = rows

    def _shrunk(self) -> bool:
        """Are most rows of experts that are no longer current? Then it is time to begin again."""
        length = len(self.catalogue)
        return length > 1000 and int(self.catalogue.alive.values.sum()) < length // 2

    def find(self, query: Query) -> SearchResult:
        """One page. Equal queries over equal experts give equal pages."""
        catalogue = self.fresh()
        if not query.q.strip():
            rows = self._listed(catalogue, query)
            page = rows[query.offset : query.offset + query.limit]
            return SearchResult(len(rows), catalogue.ids.values[page].tolist())
        mask = mask_of(catalogue, query)
        lists = [self._by_words(catalogue, query, mask)]
        meaning = self.embedder.ready and self.embedder.reads(query.q)
        if meaning and catalogue.vectors is not None:
            lists.append(self._by_meaning(catalogue, query.q, mask))
        scores = fused(lists)
        ranked = sorted(scores, key=lambda row: (-scores[row], catalogue.names[row], row))
        if query.sort not in ("", "relevance"):
            place = np.argsort(catalogue.order(query.sort))
            ranked.sort(key=lambda row: int(place[row]))
        best = ranked[query.offset : query.offset + query.limit]
        ids = catalogue.ids.values[best].tolist()
        note = _UNREAD if self.embedder.ready and not meaning else self._note(catalogue)
        return SearchResult(len(ranked), ids, [scores[row] for row in best], meaning, note)

    def _note(self, catalogue: Catalogue) -> str | None:
        alive = catalogue.alive.values
        waiting = int((alive & ~catalogue.embedded.values[: len(alive)]).sum())
        if self.embedder.ready and waiting:
            return f"{waiting:,} experts are found by full-text search alone until they are embedded"
        return self.embedder.note

    def _listed(self, catalogue: Catalogue, query: Query) -> np.ndarray:
        """Rows that pass the filters, in their order. The last lists are kept: people turn pages."""
        key = replace(query, q="", limit=0, offset=0)
        with self._keeping:
            if catalogue is self.catalogue and (known := self._lists.get(key)) is not None:
                self._lists.move_to_end(key)
                return known
        order = catalogue.order(_order(query))
        with self._keeping:  # nobody patches lists meanwhile
            mask = mask_of(catalogue, query)
            order = catalogue.order(_order(query))
            order = order[order < len(mask)]
            rows: np.ndarray = order[mask[order]].astype(np.int32)
            if catalogue is self.catalogue:
                self._lists[key] = rows
                if len(self._lists) > _LISTS:
                    self._lists.popitem(last=False)
        return rows

    def _by_words(self, catalogue: Catalogue, query: Query, mask: np.ndarray) -> list[int]:
        passed = np.flatnonzero(mask)
        share = len(passed) / max(1, int(catalogue.alive.values.sum()))
        # Few that pass the filters: the database looks among them alone. Many: enough of its best are among them.
        only = catalogue.ids.values[passed].tolist() if len(passed) <= _NARROW and share < 1 else None
        limit = DEPTH if only is not None or share == 1 else int(DEPTH / max(share, 0.01) * 2)
        with self.service.sessions.read() as session:
            found = full_text.ranked(session, query.q, limit, only)
        rows = (catalogue.rows.get(id, -1) for id in found)
        return [row for row in rows if 0 <= row < len(mask) and mask[row]][:DEPTH]

    def _by_meaning(self, catalogue: Catalogue, q: str, mask: np.ndarray) -> list[int]:
        assert catalogue.vectors is not None
        vectors = catalogue.vectors.values[: len(mask)]
        usable = mask[: len(vectors)] & catalogue.embedded.values[: len(vectors)]
        return nearest(vectors, self.embedder.query(q), usable, ids=catalogue.ids.values, floor=self.embedder.floor)

    def facets(self) -> dict[str, list[tuple[str, int]]]:
        """Of every filter: values and how many current experts have them, the most frequent first."""
        catalogue = self.fresh()
        found = {}
        for name, facet in catalogue.facets.items():
            if (ranking := facet.ranking()) is None:
                with catalogue.lock:
                    facet.count(catalogue.alive.values.copy())
                    ranking = facet.ranking()
            found[name] = ranking or []
        return found


def _order(query: Query) -> str:
    return query.sort if query.sort not in ("", "relevance") else "newest"


def _passes(query: Query, names: Mapping[str, AbstractSet[str]], size: int) -> bool:
    """Does one row pass the filters? As :func:`mask_of` of all."""
    asked = ((name, getattr(query, name)) for name in FACETS)
    fits = query.size is None or query.size[0] <= size <= query.size[1]
    return fits and all(not value or value.strip().lower() in names[name] for name, value in asked)


def mask_of(catalogue: Catalogue, query: Query) -> np.ndarray:
    """Current experts that pass all filters: shape (rows,), bool."""
    mask = catalogue.alive.values.copy()
    for name in FACETS:
        value = getattr(query, name)
        if value:
            mask &= catalogue.facets[name].mask(value.strip(), len(mask))
    if query.size is not None:
        sizes = catalogue.parameters.values[: len(mask)]
        mask &= (sizes >= query.size[0]) & (sizes <= query.size[1])
    return mask


def nearest(
    vectors: np.ndarray,
    query: np.ndarray,
    usable: np.ndarray,
    depth: int = DEPTH,
    ids: np.ndarray | None = None,
    floor: float = FLOOR,
) -> list[int]:
    """Rows of ``usable`` whose cosine is at least ``floor``, the nearest first; exact. Equal ones by id, or by row.

    :param vectors: shape (rows, dimensions), unit length. :param query: shape (dimensions,), unit length.
    """
    rows = np.flatnonzero(usable)
    if len(rows) < _FEW * len(vectors):
        scores = vectors[rows] @ query
    else:
        scores = (vectors @ query)[rows]
    if len(rows) > depth:
        least = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        best = np.flatnonzero(scores >= least)  # more than ``depth`` where some are equal
        rows, scores = rows[best], scores[best]
    order = np.lexsort((rows if ids is None else ids[rows], -scores))[:depth]
    found: list[int] = rows[order[scores[order] >= floor]].tolist()
    return found


def fused(lists: list[list[int]]) -> dict[int, float]:
    """Row → sum of 1 / (:data:`K` + rank) over the lists that have it; ranks begin with 1."""
    scores: dict[int, float] = {}
    for found in lists:
        for rank, row in enumerate(found, 1):
            scores[row] = scores.get(row, 0.0) + 1 / (K + rank)
    return scores


def search_of(service: Service) -> Search:
    """The one search of a service; made at the first call."""
    return service.components.get_or_make(Search, lambda: Search(service))
