"""Search over the tables: by words, by meaning, filters, orders, and what changes while it runs."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import select, text, update
from support.manifests import manifest
from support.shelf import open_service, put

from cogen.routing.reading import Coverage
from cogen.sharing.pairs import without_pairs
from cogen.spec.expert import ExpertSpec
from cogen_registry.database.tables import Expert
from cogen_registry.search import worker
from cogen_registry.search.embedder import FLOOR
from cogen_registry.search.full_text import words_of
from cogen_registry.search.index import Query, Search, search_of
from cogen_registry.search.text import text_of
from cogen_registry.search.worker import adopt, embed_some, read_vectors
from cogen_registry.service import Service


def names(service: Service, q: str = "", **recipe: Any) -> list[str]:
    """Ids of experts that are found, in their order."""
    search = search_of(service)
    found = search.find(Query(q=q, **recipe))
    catalogue = search.catalogue
    return [catalogue.names[catalogue.rows[id]] for id in found.ids]


@pytest.fixture
def three(service: Service) -> Service:
    put(service, "clinic", title="Staging of tumours", domains=["Medicine", "oncology"], languages=["en-GB"])
    put(
        service, "grids", title="Power grids", domains=["energy"], license="MIT OR Apache-2.0", parameters=5_000_000_000
    )
    put(service, "alloys", title="Steels and alloys", domains=["materials"], languages=["de"], parameters=200)
    return service


def test_text_holds_what_an_expert_is_for() -> None:
    """Title first; the data card's sources and limits; never what it is not for, and no "unknown"."""
    document = manifest("power", title="Power  grids", domains=["energy", "grids"])
    document["data"]["not_for"] = "divination"
    found = text_of(ExpertSpec.model_validate(document))
    assert found.splitlines()[0] == "Power grids"
    assert "energy, grids" in found.splitlines()
    assert "Invented words" in found
    assert "for tests only" in found
    assert "divination" not in found
    assert "unknown" not in found


def test_words_are_found_in_any_form(three: Service) -> None:
    """Stems, accents and case don't matter; all words before some."""
    assert names(three, "tumour staging") == ["clinic"]
    assert names(three, "TUMOURS") == ["clinic"]
    assert names(three, "grid alloy") == ["grids", "alloys"] or names(three, "grid alloy") == ["alloys", "grids"]
    assert names(three, "zebra") == []


@pytest.mark.parametrize(
    "q", ['"', "a OR", "NEAR(", "tumour* -x", "title:tumour", "'; DROP TABLE experts", "(", "^a", "%", "\0"]
)
def test_operators_are_words(three: Service, q: str) -> None:
    """Nothing that a user writes is an operator or an error."""
    names(three, q)
    assert names(three, "tumour") == ["clinic"]


def test_pairs_of_a_query_count_once() -> None:
    assert words_of("传染病传染病") == ["传染", "染病", "病传"]


def test_stop_words_count_only_alone() -> None:
    assert words_of("the staging of a tumour") == ["staging", "tumour"]
    assert words_of("to be") == ["to", "be"]
    assert len(words_of(" ".join(f"w{i}" for i in range(100)))) == 16


def test_filters(three: Service) -> None:
    assert names(three, domain="medicine") == ["clinic"]
    assert names(three, domain="ENERGY") == ["grids"]
    assert names(three, language="en") == ["grids", "clinic"]
    assert names(three, language="en-gb") == ["clinic"]
    assert names(three, license="mit") == ["grids"]
    assert names(three, license="Apache-2.0", sort="name") == ["alloys", "clinic", "grids"]
    assert names(three, base="a base", sort="name") == ["alloys", "clinic", "grids"]
    assert names(three, base="0" * 64, sort="name") == names(three, base="sha256:" + "0" * 64, sort="name")
    assert names(three, base="0" * 63) == []
    assert names(three, size=(0, 999)) == ["alloys"]
    assert names(three, size=(3e9, 6e9), domain="energy") == ["grids"]
    assert names(three, size=(3e9, 6e9), domain="medicine") == []
    assert names(three, publisher="team", sort="largest") == ["grids", "clinic", "alloys"]
    assert names(three, "tumour", language="de") == []
    assert search_of(three).facets()["domain"] == [("energy", 1), ("materials", 1), ("medicine", 1), ("oncology", 1)]


def test_orders_and_pages(three: Service) -> None:
    """Pages put together are the whole list; a page beyond the end is empty."""
    assert names(three) == ["alloys", "grids", "clinic"]
    assert names(three, sort="name") == ["alloys", "clinic", "grids"]
    assert names(three, sort="smallest") == ["alloys", "clinic", "grids"]
    pages = [names(three, sort="name", limit=1, offset=place) for place in range(4)]
    assert pages == [["alloys"], ["clinic"], ["grids"], []]
    assert search_of(three).find(Query(limit=1)).total == 3
    assert names(three, "grid alloy tumour", sort="name") == ["alloys", "clinic", "grids"]


def test_equal_scores_stand_in_the_order_of_their_names(service: Service) -> None:
    for id in ("delta", "alpha", "charlie", "bravo"):
        put(service, id, title="Same words")
    with service.sessions.write() as session:
        session.execute(update(Expert).values(text="same"))
    assert search_of(service).find(Query(q="same")).total == 4
    assert names(service, sort="smallest") == ["alpha", "bravo", "charlie", "delta"]
    assert names(service, "same") == names(service, "same")


def test_it_follows_what_changes(three: Service) -> None:
    """A new expert is found at once, a yanked one no longer, one that comes back again; also by words."""
    assert names(three, "zebra") == []
    row = put(three, "zoo", title="Zebras")
    assert names(three, "zebra") == ["zoo"]
    for current, wanted in ((False, []), (True, ["zoo"]), (False, [])):
        with three.sessions.write() as session:
            session.execute(update(Expert).where(Expert.id == row).values(current=current))
        three.changed()
        assert names(three, "zebra") == wanted
        assert ("zoo" in names(three)) is current
    with three.sessions.write() as session:
        session.execute(text("INSERT INTO experts_text(experts_text) VALUES ('integrity-check')"))


def test_readers_and_a_writer_at_once(service: Service) -> None:
    """Whoever asks while experts come and go sees whole rows: every page holds only experts that pass the filter."""
    put(service, "first", domains=["even"])
    stop, failures = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                found = names(service, domain="even", limit=100)
                assert all(name == "first" or int(name[1:]) % 2 == 0 for name in found), found
                names(service, "expert", sort="name")
            except Exception as error:  # noqa: BLE001 - of a thread: the test itself shall fail
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(30):
        put(service, f"n{number}", domains=["odd" if number % 2 else "even"])
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert search_of(service).find(Query(domain="even")).total == 16


def test_a_new_version_takes_the_place_of_the_old(three: Service) -> None:
    put(three, "clinic", "2.0", title="Nursing")
    assert names(three, "tumour") == []
    assert names(three, "nursing") == ["clinic"]
    assert sorted(names(three)) == ["alloys", "clinic", "grids"]


def test_a_catalogue_of_leavers_begins_again(service: Service) -> None:
    rows = [put(service, f"e{i}") for i in range(12)]
    search = Search(service)
    search.find(Query())
    with service.sessions.write() as session:
        session.execute(update(Expert).where(Expert.id.in_(rows[:9])).values(current=False))
        for number in range(9):
            service.change(session, "project", f"cogen-plugin-e{number}")
    service.changed()
    assert search.find(Query()).total == 3
    assert len(search.catalogue) == 12  # few rows are not worth it
    search.catalogue.take([(row, np.ones(2, "<f4").tobytes()) for row in rows])
    with service.sessions.write() as session:
        session.execute(update(Expert).values(vector=np.array([0.6, 0.8], "<f4").tobytes()))
    search._shrunk = lambda: True  # type: ignore[method-assign]
    service.changed()
    assert search.find(Query()).total == 3
    assert len(search.catalogue) == 3
    assert search.catalogue.vectors is not None
    assert search.catalogue.vectors.values.tolist() == [pytest.approx([0.6, 0.8])] * 3
    assert search.catalogue.missing(9) == []


def test_without_a_model_the_answer_says_so(three: Service) -> None:
    found = search_of(three).find(Query(q="tumour"))
    assert (found.meaning, found.note) == (False, "semantic search is disabled")
    assert found.scores == [1 / 61]


def test_a_model_that_is_none_is_said_and_words_go_on(tmp_path: Path) -> None:
    service = open_service(tmp_path / "root", embedder=str(tmp_path / "nothing"))
    put(service, "clinic", title="Staging of tumours")
    search = search_of(service)
    assert search.find(Query(q="tumour")).note == "the embedding model for semantic search is loading"
    assert search.embedder.load() is False
    found = search.find(Query(q="tumour"))
    assert found.total == 1
    assert not found.meaning
    assert "does not exist" in str(found.note)
    service.close()


def test_by_meaning(tmp_path: Path, model: Path) -> None:
    """What shares no word is found; experts are embedded once, and by another model again."""
    service = open_service(tmp_path / "root", embedder=str(model))
    put(service, "clinic", title="Cancer", summary="Oncology")
    put(service, "grids", title="Grid", summary="Electricity")
    search = search_of(service)
    assert names(service, "tumour") == []
    assert search.embedder.load()
    adopt(search)
    waiting = "experts are found by full-text search alone until they are embedded"
    assert search.find(Query(q="tumour")).note == f"2 {waiting}"
    assert embed_some(search) == 2
    assert embed_some(search) == 0
    found = search.find(Query(q="tumour"))
    assert (found.meaning, found.note) == (True, None)
    assert names(service, "tumour") == ["clinic"]
    assert names(service, "power", domain="nothing") == []
    with service.sessions.read() as session:
        vectors = [
            np.frombuffer(one or b"", "<f4") for one in session.scalars(select(Expert.vector).order_by(Expert.id))
        ]
    assert [float(np.linalg.norm(one)) for one in vectors] == pytest.approx([1, 1])
    # Words and meaning together: both lists know it, so it stands before what only one of them knows.
    put(service, "both", title="Tumour oncology")
    assert embed_some(search) == 1
    assert names(service, "tumour")[0] == "both"
    # The next start reads vectors back; a model with another digest begins anew.
    again = Search(service)
    read_vectors(again)
    assert again.catalogue.missing(9) == []
    assert again.catalogue.vectors is not None
    assert search.catalogue.vectors is not None
    assert np.array_equal(again.catalogue.vectors.values, search.catalogue.vectors.values)
    again.embedder.identity = "sha256:other"
    adopt(again)
    assert len(again.catalogue.missing(9)) == 3
    service.close()


def test_embedding_rests_while_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the time, where the rest of the process is busy; none of it is waited for otherwise."""
    moments = iter([(0.0, 0.0, 0.0), (1.0, 1.0, 0.2), (2.0, 1.3, 0.4), (3.0, 2.3, 0.5), (90.0, 88.0, 10.0)])
    clocks = {"monotonic": 0, "process_time": 1, "thread_time": 2}
    moment: list[tuple[float, float, float]] = []

    def read(place: int) -> float:
        if place == 0:
            moment[:] = [next(moments)]
        return moment[0][place]

    # of this module alone: other threads of the process look at their clocks, too
    own = {name: lambda place=place: read(place) for name, place in clocks.items()}
    monkeypatch.setattr(worker, "time", SimpleNamespace(**own))
    pace = worker.Pace()
    assert [pace.pause() for _ in range(4)] == pytest.approx([0.2 * 19, 0.0, 0.1 * 19, 10.0])


CHINESE = {"title": "中华人民共和国传染病防治法", "summary": "医师、药品与疫苗的法律条文", "languages": ["zh"]}


@pytest.mark.parametrize("q", ["传染病", "防治法", "疫苗", "药", "传染病 疫苗", "传染病防治法是什么"])
def test_chinese_is_found_within_what_is_not_separated(three: Service, q: str) -> None:
    put(three, "health-law", **CHINESE)
    assert names(three, q)[0] == "health-law"


def test_chinese_that_nobody_has_finds_nothing(three: Service) -> None:
    put(three, "health-law", **CHINESE)
    assert names(three, "足球比赛") == []
    assert names(three, "grid")[0] == "grids"


def test_experts_of_former_versions_get_their_pairs(three: Service) -> None:
    """What migration 0008 does to a text of before; twice is once."""
    put(three, "health-law", **CHINESE)
    with three.sessions.write() as session:
        row = session.scalars(select(Expert).where(Expert.expert == "health-law")).one()
        new = row.text
        row.text = without_pairs(new)
    assert names(three, "染病") == []
    migration = importlib.import_module("cogen_registry.database.migrations.versions.0008_pairs")
    for _ in range(2):
        with three.sessions.write() as session, Operations.context(MigrationContext.configure(session.connection())):
            migration.upgrade()
        with three.sessions.read() as session:
            assert session.scalars(select(Expert.text).where(Expert.expert == "health-law")).one() == new
        assert names(three, "染病") == ["health-law"]


class Unread:
    """An embedding model that knows Latin letters alone; every text has the same vector."""

    source = "file:///latin"

    def encode(self, texts: list[str]) -> Any:
        import torch

        return torch.ones(len(texts), 4) / 2

    def reading(self, texts: list[str]) -> Coverage:
        letters = [c for text in texts for c in text if c.isalpha()]
        return Coverage(len(letters), 0, len(letters), sum(not c.isascii() for c in letters))


def test_a_query_that_the_model_cannot_read_is_searched_by_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vector is noise: the answer says that it was left out; and whose language it is that nobody embeds right."""
    monkeypatch.setattr("cogen_registry.search.embedder._open", lambda source: ("sha256:latin", Unread()))
    service = open_service(tmp_path / "root", embedder="file:///latin")
    put(service, "health-law", **CHINESE)
    put(service, "grids", title="Power grids")
    search = search_of(service)
    assert search.embedder.load()
    adopt(search)
    while embed_some(search):
        pass
    assert search.embedder.floor == FLOOR
    found = search.find(Query(q="疫苗"))
    assert (found.meaning, found.total) == (False, 1)
    assert "does not know the language" in str(found.note)
    assert search.find(Query(q="grid")).meaning
    warning = worker.unread_experts(search)
    assert warning is not None
    assert "health-law" in warning
    assert "grids" not in warning
    assert "--embedder multilingual" in warning
    service.close()


def test_counts_are_no_model_for_search(tmp_path: Path) -> None:
    service = open_service(tmp_path / "root", embedder="counts")
    search = search_of(service)
    assert not search.embedder.load()
    assert "full text compares characters already" in str(search.embedder.note)
    service.close()
