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


def write_texts(folder: Path, count: int, name: str = "t", *, reverse: bool = False) -> Path:
    """``count`` files of three paragraphs; ``reverse`` writes them in the other order."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in sorted(range(count), reverse=reverse):
        (folder / f"{name}{i:03d}.txt").write_text("\n\n".join(paragraph(f"{name} {i} {j}") for j in range(3)))
    return folder


def source(**changes: Any) -> dict[str, Any]:
    """A source of a corpus, with fields changed."""
    return {
        "name": "invented",
        "uri": "file://texts",
        "members": ["**/*.txt"],
        "extract": "text",
        "license": "CC0-1.0",
        "license_evidence": "written for the tests",
        "heldout": True,
    } | changes


def agree(card: dict[str, Any], sources: list[dict[str, Any]]) -> None:
    """A card that says "none" beside a source with personal data is refused: it says what the source does, and the
    sources that say nothing say "none" themselves."""
    found = {one.get("personal_data") for one in sources} & {"present", "unknown"}
    if found and card["personal_data"] in ("none", "removed"):
        for one in sources:
            one.setdefault("personal_data", card["personal_data"])
        card["personal_data"] = "present" if "present" in found else "unknown"


def recipe_document(base: dict[str, Any], id: str = "tiny") -> dict[str, Any]:
    """A recipe; ``base`` as ``[model.base]`` has it."""
    return {
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
            "sources": [source()],
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


def training_recipe(home: Path, base: dict[str, Any], id: str = "tiny") -> Path:
    """``home / recipe.toml`` beside its texts."""
    write_texts(home / "texts", 90)
    path = home / "recipe.toml"
    path.write_text(tomlkit.dumps(recipe_document(base, id)), encoding="utf-8")
    return path
