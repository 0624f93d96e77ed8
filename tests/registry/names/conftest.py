"""An empty registry with keys, in the process of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.shelf import fresh_root

from cogen_registry.app import create_app
from cogen_registry.service import Service
from cogen_registry.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(Settings(root=fresh_root(tmp_path / "root"), embedder="none"))
    with TestClient(app) as opened:
        yield opened


@pytest.fixture
def service(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found
