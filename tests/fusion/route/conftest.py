"""Tiny experts with their suites, and an embedding that needs no model: a hashed bag of three letters."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.manifests import make_expert

from cogen.evals import BoundSuite, suites_of
from cogen.routing.embedder import Embedder


def bag(texts: Sequence[str], dimensions: int = 256) -> Any:
    """Shape (texts, dimensions), float32, rows of length one."""
    import numpy as np
    import torch

    rows = [
        np.bincount([zlib.crc32(text[i : i + 3].encode()) % dimensions for i in range(len(text))], minlength=dimensions)
        for text in texts
    ]
    return torch.nn.functional.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=1)


@pytest.fixture(autouse=True)
def _bag_of_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test needs the network."""
    monkeypatch.setattr(Embedder, "encode", lambda self, texts: bag(texts))


@pytest.fixture(autouse=True)
def general(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BoundSuite:
    """A small suite of general text in the place of the one that ships."""
    (own,) = suites_of(make_expert(tmp_path, "plain"))
    found = BoundSuite("general", own.suite, own.root)
    monkeypatch.setattr("cogen.fusion.route.plan.general_suites", lambda: [found])
    return found
