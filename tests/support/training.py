"""A training recipe over a tiny base and invented texts that is done in seconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tomlkit


def paragraph(seed: str, words: int = 16) -> str:
    """Invented words that no other seed gives."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("aeioulnrstdmgv", k=5)) for _ in range(words)) + "."


def training_recipe(home: Path, base: dict[str, Any], id: str = "tiny") -> Path:
    """``home / recipe.toml`` beside its texts; ``base`` as ``[model.base]`` has it."""
    (home / "texts").mkdir(parents=True)
    for i in range(90):
        text = "\n\n".join(paragraph(f"{i} {j}") for j in range(3))
        (home / "texts" / f"t{i:03d}.txt").write_text(text)
    source = {
        "name": "invented",
        "uri": "file://texts",
        "members": ["**/*.txt"],
        "extract": "text",
        "license": "CC0-1.0",
        "license_evidence": "written for the tests",
        "heldout": True,
    }
    document = {
        "id": id,
        "plugin": f"src/cogen_plugin_{id}",
        "base": base,
        "corpus": {
            "seed": 5,
            "min_characters": 60,
            "max_characters": 110,
            "dev_documents": 5,
            "test_documents": 30,
            "sample_bytes": 2000,
            "sources": [source],
        },
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
        },
        "card": {
            "title": id.capitalize(),
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
    }
    path = home / "recipe.toml"
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    return path
