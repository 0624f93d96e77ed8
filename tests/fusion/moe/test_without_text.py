"""Mixtures with experts that ship no text: numbers in its place, or text that they write themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.mixtures import Words, assemble, bits
from support.textless import PRIVATE_SUITE, WITHOUT_TEXT, counted, statistics
from support.tiny import tokenizer

from cogen.fusion import generated
from cogen.fusion.moe import routers
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.routing_data import origin_of
from cogen.fusion.samples import sample_texts
from cogen.routing.states import mean_states, moments


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "Embedder", Words)
    monkeypatch.setattr("cogen.fusion.moe.train_routers.STEPS", 2)
    monkeypatch.setattr("cogen.routing.token_counts.TOKENS", 512)
    for name, value in (("TEXTS", 4), ("TOKENS", 12), ("BATCH", 2)):
        monkeypatch.setattr(generated, name, value)


def row_of(folder: Path, id: str) -> torch.Tensor:
    return load_file(folder / "router/router.safetensors")[id]


def test_states_give_the_row_of_the_text(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Bit for bit; routing hidden."""
    world = zoo()
    text = world.ffn("e1")
    wanted = row_of(assemble(host(text), tmp_path / "text", routing="hidden").folder, "e1")
    mean = mean_states(world.model(), tokenizer(), sample_texts(text))
    table = statistics(world.world.folder / "e1", states={"mean": mean})
    mute = world.ffn("e1", statistics=table, **WITHOUT_TEXT)
    assert origin_of(mute, "states") == "states"
    assert torch.equal(row_of(assemble(host(mute), tmp_path / "mute", routing="hidden").folder, "e1"), wanted)


def test_counts_of_general_text_are_no_field(zoo: Any, host: Any, tmp_path: Path) -> None:
    """An expert with the counts of the general text has the base's row: zero. With those of its own text it has not,
    and its text lies on the row's own side more than general text does."""
    world = zoo()
    text = world.ffn("e1")
    general = routers.calibration_texts()

    def built(texts: list[str]) -> torch.Tensor:
        table = statistics(world.world.folder / "e1", token_counts=_all(texts))
        mute = world.ffn("e1", statistics=table, **WITHOUT_TEXT)
        assert origin_of(mute, "states") == "counts"
        return row_of(assemble(host(mute), tmp_path / str(len(texts)), routing="hidden").folder, "e1").double()

    def _all(texts: list[str]) -> dict[str, Any]:
        return counted([*texts, *texts], tokenizer())  # twice: no token is below the floor

    assert float(built(general).abs().max()) < 1e-6
    own = sample_texts(text)
    row = built(own)
    base = world.model()
    shift = mean_states(base, tokenizer(), own) - moments(base, tokenizer(), general).mean
    assert bool(((row * shift).sum(1) > 0).all())


@pytest.mark.parametrize("routing", ["hidden", "embedding", "trained"])
def test_an_expert_that_ships_nothing_writes(zoo: Any, host: Any, routing: str, tmp_path: Path) -> None:
    """Built, twice the same; the plan says where its row is from, and none of its text is in the output."""
    world = zoo()
    machine = host(world.ffn("e1"), world.ffn("mute", 2, private_suites=[PRIVATE_SUITE], **WITHOUT_TEXT))
    built = assemble(machine, tmp_path / "out", routing=routing)
    notes = [note.message for note in built.plan.notes]
    assert sum("mute ships no sample text" in note and "writes itself here" in note for note in notes) == 1
    assert any("mute has no suite that can be run here" in note for note in notes)
    assert not any("e1" in note for note in notes)
    assert float(row_of(built.folder, "mute").abs().max()) > 0
    assert bits(assemble(machine, tmp_path / "again", routing=routing).folder) == bits(built.folder)
    (kept,) = (tmp_path / "cache" / "generated").iterdir()
    for text in json.loads(kept.read_text(encoding="utf-8")):
        for file in filter(Path.is_file, built.folder.rglob("*")):
            assert len(text) < 12 or text.encode() not in file.read_bytes()


def test_the_others_rows_stay(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Whether or not an expert without text is there: routing hidden."""
    world = zoo()
    one, mute = world.ffn("e1"), world.ffn("mute", 2, **WITHOUT_TEXT)
    alone = row_of(assemble(host(one), tmp_path / "alone", routing="hidden").folder, "e1")
    assert torch.equal(row_of(assemble(host(one, mute), tmp_path / "both", routing="hidden").folder, "e1"), alone)


def test_its_cost_is_in_the_plan(zoo: Any, host: Any) -> None:
    """Tokens of writing and reading, once, though training wants the same texts."""
    world = zoo()
    recipe = FuseRecipe(strategy="moe", level="none", routing="hidden")
    text, _ = make_plan(host(world.ffn("e1")), recipe)
    mute, _ = make_plan(host(world.ffn("e1", **WITHOUT_TEXT)), recipe)
    (own,) = tokenizer()(["\n".join(sample_texts(world.ffn("e1")))])["input_ids"]
    assert mute.cost.routing_tokens - text.cost.routing_tokens > 2 * 4 * 12 - 2 * len(own)
    trained = recipe.model_copy(update={"routing": "trained"})
    tuned, _ = make_plan(host(world.ffn("e1", **WITHOUT_TEXT)), trained)
    assert sum("ships no sample text" in note.message for note in tuned.notes) == 1


def test_who_has_no_row_is_left_out_alone(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Of every installed expert, with a note; routing anchored has nothing else."""
    machine = host(zoo().anchored("e1"), zoo().ffn("e2", 2, **WITHOUT_TEXT))
    built = assemble(machine, tmp_path / "out", routing="anchored")
    assert [expert.id for expert in built.plan.experts] == ["e1"]
    assert "e2 is left out: it ships no router row, which routing anchored needs" in [
        n.message for n in built.plan.notes
    ]
