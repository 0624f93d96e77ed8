"""A registry with something of everything, behind a test client; read by all tests of this room, changed by none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.shelf import fresh_root
from support.stock import fill

from cogen_registry.app import create_app
from cogen_registry.service import Service
from cogen_registry.settings import Settings


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root: Path = fresh_root(tmp_path_factory.mktemp("pages") / "root")
    with TestClient(create_app(Settings(root=root, embedder="none", url="https://r.example"))) as opened:
        fill(opened.app.state.service)  # type: ignore[attr-defined]
        yield opened


@pytest.fixture(scope="session")
def service(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found
