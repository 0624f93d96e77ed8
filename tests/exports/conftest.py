"""Tiny models to export, and a cache of its own for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny import CHAT_TEMPLATE, save_model


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COGEN_LLAMA_CPP", raising=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Llama of two layers in bfloat16, with a chat template."""
    folder = save_model(tmp_path / "composite", 7, "bfloat16")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder
