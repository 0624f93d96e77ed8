"""A stocked registry at rest, and its mirror; read by all tests of this room, changed by none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shelf import open_service
from support.stock import fill

from cogen_registry.export import export
from cogen_registry.settings import Settings


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("export") / "root"
    service = open_service(root)
    fill(service)
    service.close()
    return Settings(root=root, embedder="none")


@pytest.fixture(scope="session")
def mirror(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("mirror") / "mirror"
    export(settings, target)
    return target
