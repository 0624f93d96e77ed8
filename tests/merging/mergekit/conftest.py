"""A kitchen for every test, and a guard against reading weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kitchen import Kitchen

from cogen.checkpoints.files import OpenFiles


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Kitchen(tmp_path)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reading a weight is an error."""

    def reject(*_: object) -> Any:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(OpenFiles, "read", reject)
    monkeypatch.setattr(OpenFiles, "copy", reject)
    return
