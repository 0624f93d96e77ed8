"""The whole service behind a test client; experts are put into its tables by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.shelf import fresh_root, put
from support.signed import registered
from support.textless import PRIVATE_SUITE

from cogen_registry.app import create_app
from cogen_registry.service import Service
from cogen_registry.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(root=fresh_root(tmp_path / "root"), embedder="none", url="https://r.example")
    with TestClient(create_app(settings)) as opened:
        yield opened


@pytest.fixture
def service(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found


@pytest.fixture
def key(tmp_path: Path, client: TestClient, service: Service) -> Path:
    """The team's key, known to the registry; its expert has a public and a private suite."""
    put(service, "power", schema_version=2, private_suites=[PRIVATE_SUITE])
    return registered(tmp_path / "key.pem", "team", client, service)
