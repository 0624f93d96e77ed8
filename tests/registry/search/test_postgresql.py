"""The same registry on PostgreSQL: tables, full text, filters, evaluations and composites."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect, update
from support import postgres
from support.shelf import put, token

from cogen_registry.app import create_app
from cogen_registry.database.tables import Base, Expert
from cogen_registry.search.index import search_of
from cogen_registry.search.worker import adopt, embed_some
from cogen_registry.service import Service
from cogen_registry.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres.binaries() is None or postgres.user() is None, reason="there is no PostgreSQL here"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres.cluster() as found:
        yield found


@pytest.fixture(scope="module")
def client(url: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(root=tmp_path_factory.mktemp("root"), database=url, embedder="none")
    with TestClient(create_app(settings)) as opened:
        service = opened.app.state.service  # type: ignore[attr-defined]
        put(service, "clinic", title="Staging of tumours", domains=["Medicine"], languages=["en-GB"])
        put(service, "grids", title="Power grids", domains=["energy"], license="MIT", parameters=70_000_000_000)
        put(service, "alloys", title="Steels and alloys", domains=["materials"], languages=["de"], parameters=200)
        yield opened


@pytest.fixture
def service(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found


def found(client: TestClient, **recipe: Any) -> list[str]:
    answer = client.get("/api/v1/experts", params=recipe)
    assert answer.status_code == 200, answer.text
    return [card["id"] for card in answer.json()["items"]]


def test_migrations_give_the_tables(service: Service) -> None:
    """Every column of tables.py is there, with a type that holds what it says."""
    inspector = inspect(service.sessions.engine)
    for table in Base.metadata.sorted_tables:
        columns = {column["name"]: column for column in inspector.get_columns(table.name)}
        for column in table.columns:
            wanted = column.type.compile(service.sessions.engine.dialect)
            reported = columns[column.name]["type"].compile(service.sessions.engine.dialect)
            assert reported == wanted, (table.name, column.name)
            assert columns[column.name]["nullable"] == column.nullable, (table.name, column.name)


def test_words_and_filters(client: TestClient) -> None:
    assert found(client, q="TUMOUR staging") == ["clinic"]
    assert found(client, q="zebra") == []
    assert sorted(found(client, q="grid alloy")) == ["alloys", "grids"]
    assert found(client, sort="name") == ["alloys", "clinic", "grids"]
    assert found(client, domain="medicine") == ["clinic"]
    assert found(client, language="en", sort="name") == ["clinic", "grids"]
    assert found(client, license="mit") == ["grids"]
    assert found(client, size=">1B") == ["grids"]
    assert found(client, base="A base", sort="smallest") == ["alloys", "clinic", "grids"]
    assert found(client, q="tumour", domain="energy") == []


@pytest.mark.parametrize("q", ['"', "a OR", "tumour* -x", "tumour:A", "'; DROP TABLE experts", "(&|!", "%", "<->"])
def test_operators_are_words(client: TestClient, q: str) -> None:
    found(client, q=q)
    assert found(client, q="tumour") == ["clinic"]


def test_it_follows_what_changes(client: TestClient, service: Service) -> None:
    row = put(service, "zoo", title="Zebras")
    assert found(client, q="zebra") == ["zoo"]
    with service.sessions.write() as session:
        session.execute(update(Expert).where(Expert.id == row).values(current=False))
    service.changed()
    assert found(client, q="zebra") == []


def test_a_detail_and_a_measurement(client: TestClient) -> None:
    assert client.get("/api/v1/experts/grids").json()["parameters"] == 70_000_000_000
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    new = {
        "suite": "heldout",
        "metric": "bits_per_byte",
        "part": "test",
        "value": 2.0,
        "documents": 2,
        "harness": "h",
        "evidence": {"per_document": [[2.0, 1.0], [6.0, 3.0]]},
    }
    answer = client.post("/api/v1/experts/grids/1.0/evaluations", json=new, headers=token(service, "other"))
    assert answer.status_code == 201, answer.text
    measured = client.get("/api/v1/experts/grids").json()["evaluations"]["measured"]
    assert [(one["by"], one["value"], one["low"]) for one in measured] == [("other", 2.0, None)]
    assert client.get("/api/v1/composites?expert=grids").json() == {"total": 0, "items": []}
    assert client.get("/api/v1/index.json").json()["total"] == 3


def test_by_meaning(client: TestClient, service: Service, model: Path) -> None:
    """Vectors are kept as bytes and read back."""
    search = search_of(service)
    search.embedder.source = str(model)
    assert search.embedder.load()
    adopt(search)
    while embed_some(search):
        pass
    answer = client.get("/api/v1/experts?q=electricity").json()
    assert answer["meaning"] is True
    assert [card["id"] for card in answer["items"]] == ["grids"]
