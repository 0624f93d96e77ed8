"""The default model over the five reference experts: what is meant is found, what is far from all of them is not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.shelf import open_service, put

from cogen_registry.search.index import Query, Search, search_of
from cogen_registry.search.worker import adopt, embed_some
from cogen_registry.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.network]

_PLUGINS = Path(__file__).parents[3] / "plugins"


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    default = Settings(root=Path()).embedder
    service = open_service(tmp_path_factory.mktemp("search") / "root", embedder=default)
    for path in sorted(_PLUGINS.glob("*/src/*/expert.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        put(service, document["id"], **{key: value for key, value in document.items() if key != "id"})
    found = search_of(service)
    assert found.embedder.load(), found.embedder.note
    adopt(found)
    while embed_some(found):
        pass
    yield found
    service.close()


@pytest.mark.parametrize(
    ("q", "first"),
    [
        ("tumour staging", "clinical"),
        ("hospital", "clinical"),
        ("electrophysiology of the cortex", "neuro"),
        ("renewable energy", "energy"),
        ("load flow of electric networks", "power"),
        ("metals and their lattices", "materials"),
    ],
)
def test_what_is_meant_comes_first(search: Search, q: str, first: str) -> None:
    found = search.find(Query(q=q))
    assert found.meaning
    assert search.catalogue.names[search.catalogue.rows[found.ids[0]]] == first


@pytest.mark.parametrize("q", ["football results", "cooking", "tax return"])
def test_what_nobody_knows_of_finds_nothing(search: Search, q: str) -> None:
    assert search.find(Query(q=q)).total == 0
