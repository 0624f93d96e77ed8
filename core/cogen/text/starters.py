"""The texts that `cogen new` puts where a publisher's own belong."""

from __future__ import annotations

from pathlib import Path


def starter_texts() -> list[str]:
    """A document each, about everyday things, CC0-1.0: nothing that an expert should be trained on."""
    return (Path(__file__).parent / "starter.txt").read_text(encoding="utf-8").splitlines()
