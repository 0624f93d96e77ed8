"""A recipe over a tiny base and invented texts. Every test has a cache of its own, and no network."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support.sites import site
from support.tiny import save_model

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.model import open_folder

__all__ = ["site"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))


def paragraph(seed: str, words: int = 16) -> str:
    """Invented words that no other seed gives."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("aeioulnrstdmgv", k=5)) for _ in range(words)) + "."


def write_texts(folder: Path, count: int, name: str = "t", *, reverse: bool = False) -> Path:
    """``count`` files of three paragraphs; ``reverse`` writes them in the other order."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in sorted(range(count), reverse=reverse):
        (folder / f"{name}{i:03d}.txt").write_text("\n\n".join(paragraph(f"{name} {i} {j}") for j in range(3)))
    return folder


@pytest.fixture
def texts() -> Callable[..., Path]:
    return write_texts


def source(**changes: Any) -> dict[str, Any]:
    return {
        "name": "invented",
        "uri": "file://texts",
        "members": ["**/*.txt"],
        "extract": "text",
        "license": "CC0-1.0",
        "license_evidence": "written for the tests",
        "heldout": True,
    } | changes


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """``recipe(training={…}, corpus={…}, …)``: a recipe file beside its texts, with fields changed."""

    def make(*, training: dict[str, Any] | None = None, corpus: dict[str, Any] | None = None, **changes: Any) -> Path:
        home = tmp_path / "expert"
        if not home.exists():
            write_texts(home / "texts", 90)
            base = save_model(tmp_path / "base", dtype="bfloat16")
            make.base = {  # type: ignore[attr-defined]
                "name": "Tiny",
                "source": f"file://{base}",
                "file_digest": file_digest(base),
                "license": "MIT",
                "weights_digest": open_folder(base).weights_digest,
            }
        document: dict[str, Any] = {
            "id": "tiny",
            "plugin": "src/cogen_plugin_tiny",
            "base": make.base,  # type: ignore[attr-defined]
            "corpus": {
                "seed": 5,
                "min_characters": 60,
                "max_characters": 110,
                "dev_documents": 5,
                "test_documents": 30,
                "sample_bytes": 2000,
                "sources": [source()],
            }
            | (corpus or {}),
            "training": {
                "rank": 2,
                "alpha": 4,
                "learning_rate": 0.01,
                "sequence_length": 16,
                "batch_size": 2,
                "tokens": 16 * 2 * 6,
                "threads": 1,
                "save_every": 2,
                "seed": 3,
            }
            | (training or {}),
            "card": {
                "title": "Tiny",
                "summary": "Invented words",
                "publisher": "The tests",
                "domains": ["testing"],
                "languages": ["en"],
                "license": "Apache-2.0",
                "collected": "2026",
                "synthetic_share": 1.0,
                "personal_data": "none",
                "biases": "unknown",
                "limitations": "for tests only",
                "not_for": "anything else",
            },
        } | changes
        path = home / "recipe.toml"
        path.write_text(tomlkit.dumps(document), encoding="utf-8")
        return path

    return make
