"""A real sentence-embedding model tells two domains apart, and both from general text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.manifests import digest, make_expert

from cogen.fusion.route import Router
from cogen.fusion.route.centroids import make_centroids
from cogen.host import Expert
from cogen.routing.embedder import Embedder

pytestmark = [pytest.mark.slow, pytest.mark.network]

_GRID = (
    "The operator of the transmission network balances generation and load at every moment.",
    "A transformer steps the voltage down before power reaches the distribution feeders.",
    "Circuit breakers clear a short circuit within a few cycles of the mains frequency.",
    "Reactive power is supplied by capacitor banks to hold the bus voltage.",
)
_CLINIC = (
    "The patient was given a beta blocker after the second infarction.",
    "Blood pressure is measured on both arms, and the higher value is recorded.",
    "The biopsy showed an inflammation of the liver, and the antiviral therapy was continued.",
    "Nurses write the dose and the time of each medication into the chart.",
)


def expert(folder: Path, id: str, texts: tuple[str, ...]) -> Expert:
    """An expert with these samples."""
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    samples = {"path": "samples.jsonl", "digest": digest(content), "license": "CC0-1.0"}
    made = make_expert(folder, id, samples=samples)
    (made.root / "samples.jsonl").write_bytes(content)
    return made


def test_questions_find_their_expert(real_cache: Path, tmp_path: Path) -> None:
    """Words that stand in no sample; what is about neither goes to the base."""
    embedder = Embedder()
    experts = [expert(tmp_path, "grid", _GRID), expert(tmp_path, "clinic", _CLINIC)]
    router = Router(embedder, make_centroids(experts, embedder, {}), fallback=True)
    questions = [
        "Why do overhead lines sag when they carry a lot of electricity?",
        "Which drug lowers cholesterol?",
        "Who painted the ceiling of the chapel?",
        "What is a good recipe for pancakes?",
    ]
    assert [choice.expert for choice in router.choose(questions)] == ["grid", "clinic", "base", "base"]
