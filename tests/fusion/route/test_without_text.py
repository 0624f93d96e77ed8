"""Routes with experts that ship no text: their place among the texts, from numbers or from what they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import carry_out
from support.textless import PRIVATE_SUITE, WITHOUT_TEXT, counted, statistics
from support.tiny import tokenizer

from cogen.evals import calibration_texts
from cogen.fusion import generated
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.route.centroids import make_centroids, read_centroids
from cogen.fusion.route.manifest import read_route
from cogen.fusion.route.members import open_members
from cogen.fusion.routing_data import origin_of
from cogen.routing.embedder import DEFAULT, Embedder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogen.routing.token_counts.TOKENS", 512)
    for name, value in (("TEXTS", 4), ("TOKENS", 12), ("BATCH", 2)):
        monkeypatch.setattr(generated, name, value)


def test_a_shipped_embedding_is_the_centroid(world: Any) -> None:
    """Of the very embedding model; one by another model says nothing, so something else takes its place."""
    vector = torch.linspace(-1, 1, 256)
    mute = world.expert(
        "mute",
        statistics=statistics(world.folder / "mute", embedder=DEFAULT, embedding={"mean": vector}),
        **WITHOUT_TEXT,
    )
    assert torch.equal(make_centroids([mute], Embedder(), {})["mute"], vector)
    assert origin_of(mute, "embedding", DEFAULT) == "embedding"
    assert origin_of(mute, "embedding", "hf://org/another") == "generated"


def test_counts_of_general_text_lie_where_it_lies(world: Any, host: Any) -> None:
    """The same counts, the same place: no text is nearer to such an expert than to the base."""
    texts = calibration_texts()
    table = statistics(world.folder / "mute", token_counts=counted([*texts, *texts], tokenizer()))
    mute = world.expert("mute", statistics=table, **WITHOUT_TEXT)
    found = make_centroids([mute], Embedder(), open_members(host(mute), [mute], None))
    torch.testing.assert_close(found["mute"], found["general"], rtol=0, atol=1e-6)


def test_an_expert_that_ships_nothing_writes(world: Any, host: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The route is built and measured on the other's suite; the plan and the card say what is not measured here."""
    monkeypatch.setattr("cogen.fusion.route.manifest.fetch", lambda *_, **__: world.folder)
    monkeypatch.setattr("cogen.fusion.route.manifest.file_digest", lambda _: "sha256:" + "0" * 64)
    mute = world.expert("mute", 2, private_suites=[PRIVATE_SUITE], **WITHOUT_TEXT)
    outcome = carry_out(host(world.expert("e1", 1), mute), FuseRecipe(strategy="route"), tmp_path / "route")
    notes = [note.message for note in outcome.plan.notes]
    assert any("mute ships no sample text: its place among the texts from 64 texts" in note for note in notes)
    assert any("mute has no suite that can be run here" in note for note in notes)
    assert outcome.plan.cost.routing_tokens > 0
    assert outcome.matrix.columns == ("e1/heldout", "general/heldout")
    centroids = read_centroids(tmp_path / "route", read_route(tmp_path / "route"))
    assert float((centroids["mute"] - centroids["general"]).abs().max()) > 0
    card = (tmp_path / "route" / "README.md").read_text()
    assert "not reproducible by others" in card
    assert "Clinical notes" in (tmp_path / "route" / "please-measure.md").read_text()
