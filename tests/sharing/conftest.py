"""Settings, cache and receipts of a user who has none yet; a registry, and users of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub import Registry, running
from support.sites import site
from support.trees import built
from support.users import User, Users

__all__ = ["site"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("COGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    return tmp_path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One for all tests of this room: each has names of its own."""
    with running(tmp_path_factory.mktemp("registry") / "root", verify_elsewhere=False) as opened:
        yield opened


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Users:
    """Makes a user of the command line, by name."""

    def make(name: str) -> User:
        home = tmp_path / name
        home.mkdir()
        return User(home, monkeypatch, capsys)

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building without isolation, and without the checks: other tests do both."""
    monkeypatch.setattr(
        "cogen.sharing.publishing.publish.build_wheel", lambda folder, place: built(folder, Path(place) / "built")
    )
    monkeypatch.setattr("cogen.sharing.publishing.publish.check_wheel", lambda wheel: 1)
