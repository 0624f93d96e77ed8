"""A recipe over a tiny base and invented texts. Every test has a cache of its own, and no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support.sites import site
from support.tiny import CHAT_TEMPLATE, save_model
from support.training import agree, recipe_document, write_texts

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.model import open_folder

__all__ = ["site"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def texts() -> Callable[..., Path]:
    return write_texts


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """``recipe(training={…}, corpus={…}, …)``: a recipe file beside its texts, with fields changed."""

    def make(
        *,
        training: dict[str, Any] | None = None,
        corpus: dict[str, Any] | None = None,
        chat: bool = False,
        **changes: Any,
    ) -> Path:
        """``chat``: the base has a chat template; so of the first call."""
        home = tmp_path / "expert"
        if not home.exists():
            write_texts(home / "texts", 90)
            base = save_model(tmp_path / "base", dtype="bfloat16")
            if chat:
                (base / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
            make.base = {  # type: ignore[attr-defined]
                "name": "Tiny",
                "source": f"file://{base}",
                "file_digest": file_digest(base),
                "license": "MIT",
                "weights_digest": open_folder(base).weights_digest,
            }
        document = recipe_document(make.base)  # type: ignore[attr-defined]
        document["corpus"] |= corpus or {}
        document["training"] |= training or {}
        document |= changes
        if "card" not in changes:
            agree(document["card"], document["corpus"]["sources"])
        path = home / "recipe.toml"
        path.write_text(tomlkit.dumps(document), encoding="utf-8")
        return path

    return make
