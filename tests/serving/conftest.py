"""No engine of this machine, and no cache of the user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COGEN_LLAMA_CPP", raising=False)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """PATH with nothing but programs of these names."""

    def make(*names: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            os.chmod(folder / name, 0o755)  # noqa: PTH101
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return make
