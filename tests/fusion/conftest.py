"""A tiny base and tiny experts over it, as a host would find them. No network, a cache of its own for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.world import FakeHost, World

from cogen.host import Host


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches, nor takes long: there is no general suite."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cogen.fusion.merge.inputs.general_suites", list)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def host() -> Callable[..., Host]:
    return FakeHost
