"""What follows changes gives the same answers as what is read anew, whatever came in whatever order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simple_repository.content_negotiation import Format
from sqlalchemy import select, update
from support.shelf import open_service, put

from cogen_registry.admission import current
from cogen_registry.database.tables import Domain, Expert, Language, Project, Release
from cogen_registry.experts.cards import Shelf, shelf_of
from cogen_registry.experts.find import find
from cogen_registry.experts.index_file import document, shard_of, write_shard
from cogen_registry.experts.shards import Index
from cogen_registry.packages.index import IndexPages
from cogen_registry.search.catalogue import ORDERS
from cogen_registry.search.index import Query, Search, nearest, search_of
from cogen_registry.service import Service

NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
DOMAINS = ("energy", "law", "medicine")
LANGUAGES = ("en", "en-GB", "de")
LICENSES = ("Apache-2.0", "MIT", "MIT OR Apache-2.0")
QUERIES = [
    Query(q=q, sort=sort, **filters)
    for q in ("", "energy", "shared words")
    for sort in ("", *ORDERS)
    for filters in (
        {},
        {"domain": "energy"},
        {"language": "en"},
        {"license": "mit"},
        {"publisher": "team-1"},
        {"size": (0.0, 500.0)},
        {"domain": "law", "language": "de"},
    )
]
#: (what is done, to which project, how)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("publish", "publish", "yank", "unyank", "remove", "move", "delete", "again")),
        st.integers(0, len(NAMES) - 1),
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=14,
)


def step(service: Service, what: str, number: int, how: int) -> None:
    """One change, written as the service itself does it."""
    id = NAMES[number]
    draw = random.Random(how)
    with service.sessions.read() as session:
        found = session.scalars(select(Release).join(Project).where(Project.name == f"cogen-plugin-{id}")).all()
    if what == "publish":
        newest = max((int(one.version[2:]) for one in found), default=-1)
        put(
            service,
            id,
            f"1.{newest + 1}",
            team=f"team-{number % 2}",
            parameters=draw.randrange(1, 1000),
            domains=draw.sample(DOMAINS, draw.randint(1, 2)),
            languages=draw.sample(LANGUAGES, 2),
            license=draw.choice(LICENSES),
            title=f"Shared words {how % 3}",
        )
        return
    if what == "again":
        service.changed()  # somebody who doesn't say what
        return
    if not found:
        return
    chosen = found[how % len(found)]
    with service.sessions.write() as session:
        row = session.get_one(Release, chosen.id)
        if what in ("yank", "unyank"):
            row.yanked = "why" if what == "yank" else None
        elif what == "remove":
            row.state = "quarantined"
        elif what == "move":  # to another publisher
            session.execute(update(Expert).where(Expert.release_id == row.id).values(publisher=f"team-{how % 3}"))
        else:
            for expert in session.scalars(select(Expert).where(Expert.release_id == row.id)):
                session.delete(expert)
            session.flush()
            session.delete(row)
        session.flush()
        current.refresh(session, row.project_id)
        service.change(session, "project", f"cogen-plugin-{id}")
    service.changed()


def answers(service: Service, search: Search) -> dict[str, Any]:
    """Everything that is answered from memory."""
    made: dict[str, Any] = {"facets": search.facets()}
    for query in QUERIES:
        found = search.find(query)
        made[repr(query)] = (found.total, found.ids, found.scores)
    return made


def pages(service: Service, opened: IndexPages) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for form in Format:
        made[f"list {form}"] = opened.page(None, form)
        for id in NAMES:
            try:
                made[f"{id} {form}"] = opened.page(f"cogen-plugin-{id}", form)
            except Exception as error:  # noqa: BLE001 - what is refused is an answer, too
                made[f"{id} {form}"] = str(error)
    return made


@pytest.mark.parametrize("seed", range(4))
def test_following_is_reading_anew(tmp_path: Path, seed: int) -> None:
    """Long random sequences over one service: search, filters, orders, facets, cards, package pages, static index."""
    service = open_service(tmp_path / "root")
    draw = random.Random(seed)
    search, opened, index = search_of(service), IndexPages(service), Index(service)
    index.start()
    answers(service, search)
    pages(service, opened)
    catalogue = search.catalogue
    kinds = ("publish", "publish", "publish", "yank", "unyank", "remove", "move", "delete")
    for _ in range(25):
        step(service, draw.choice(kinds), draw.randrange(len(NAMES)), draw.randrange(1000))
        assert answers(service, search) == answers(service, Search(service))
        assert pages(service, opened) == pages(service, IndexPages(service))
        assert [one.model_dump() for one in find(service, Query()).items] == cards(service)
        assert index.get()[0] == whole_index(service)
    assert search.catalogue is catalogue  # it was followed, not read again
    index.close()
    service.close()


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_any_sequence(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]) -> None:
    service = open_service(tmp_path_factory.mktemp("any") / "root")
    search, opened = search_of(service), IndexPages(service)
    answers(service, search)
    pages(service, opened)
    for one in steps:
        step(service, *one)
    assert answers(service, search) == answers(service, Search(service))
    assert pages(service, opened) == pages(service, IndexPages(service))
    service.close()


def cards(service: Service) -> list[dict[str, Any]]:
    """Of the newest, by a shelf that nothing stands on."""
    service.components.discard(Shelf)
    found = [one.model_dump() for one in find(service, Query()).items]
    assert shelf_of(service)
    return found


def whole_index(service: Service) -> bytes:
    """`index.json` written from the tables alone."""
    with service.sessions.read() as session:
        rows = session.execute(select(Expert.id, Expert.expert).where(Expert.current)).all()
        shards = [
            write_shard(session, name, [row.id for row in rows if shard_of(row.expert) == name])[0]
            for name in sorted({shard_of(row.expert) for row in rows})
        ]
    return document(service.settings.title, shards)


def test_vectors_follow_too(tmp_path: Path) -> None:
    """Another process embedded experts: this one finds them by meaning, in the same order as one that starts now."""
    service = open_service(tmp_path / "root")
    search = search_of(service)
    search.adopted = True
    ids = [put(service, id) for id in NAMES]
    search.find(Query())
    numbers = np.random.default_rng(0)
    for id in ids:
        vector = numbers.normal(size=8).astype("<f4")
        with service.sessions.write() as session:
            session.execute(update(Expert).where(Expert.id == id).values(vector=vector.tobytes()))
            service.change(session, "vector", str(id))
        service.changed()
    put(service, "alpha", "2.0")
    anew = Search(service)
    with service.sessions.read() as session:
        anew.fresh().read_vectors(session)
    query = numbers.normal(size=8).astype(np.float32)
    found = [by_meaning(one, query) for one in (search, anew)]
    assert found[0] == found[1]
    assert set(found[0]) <= set(ids[1:])
    assert len(search.catalogue.missing(9)) == 1
    service.close()


def by_meaning(search: Search, query: np.ndarray) -> list[int]:
    catalogue = search.catalogue
    usable = catalogue.alive.values & catalogue.embedded.values
    assert catalogue.vectors is not None
    ids = catalogue.ids.values
    return [int(ids[row]) for row in nearest(catalogue.vectors.values, query, usable, ids=ids)]


def test_equal_ones_stand_in_the_order_of_their_ids(service: Service) -> None:
    vectors = np.ones((600, 2), np.float32)
    ids = np.random.default_rng(1).permutation(600).astype(np.int64)
    rows = nearest(vectors, np.ones(2, np.float32), np.ones(600, bool), ids=ids)
    assert ids[rows].tolist() == list(range(200))


def test_a_vector_costs_no_copy_of_all(service: Service) -> None:
    """There is room for newcomers from the start."""
    from cogen_registry.search.columns import Column

    column = Column(np.float32, 4)
    column.reserve(100)
    column.extend(np.ones((10, 4), np.float32))
    before = column.values
    column.extend(np.ones((50, 4), np.float32))
    assert np.shares_memory(before, column.values)
    assert len(column.values) == 60


def test_rows_of_tables_that_only_lists_know(service: Service) -> None:
    """Domains and languages of who came later are found by the filters."""
    search_of(service).find(Query())
    put(service, "late", domains=["Zoology"], languages=["fr-CA"])
    assert search_of(service).find(Query(domain="zoology", language="fr")).total == 1
    with service.sessions.read() as session:
        assert session.scalars(select(Domain.name)).all() == ["zoology"]
        assert session.scalars(select(Language.tag)).all() == ["fr-ca"]
