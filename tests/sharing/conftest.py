"""Settings, cache and receipts of a user who has none yet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.sites import site

__all__ = ["site"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("COGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    return tmp_path
