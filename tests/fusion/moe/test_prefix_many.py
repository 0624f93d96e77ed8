"""Routing prefix with more experts than the extra head has dimensions: their evidence shares features."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.mixtures import assemble, bits, carry_out, evolve, loaded
from support.prefix import (
    PREFIX,
    details_of,
    evidence_of,
    expected,
    forgotten,
    in_stream,
    rows_of,
    spoken,
    with_turns,
    world_of,
)
from support.tiny import save_adapter, tokenizer

from cogen.artifacts.lock import read_lock
from cogen.checkpoints.model import open_weights
from cogen.errors import SourceError
from cogen.fusion.moe.insight import gates
from cogen.fusion.moe.prefix.rows import read_prefix_rows
from cogen.fusion.moe.routers import read_rows
from cogen.routing.evidence import count_tokens
from cogen.runs.replay import recipe_of

#: Heads of sixteen dimensions: eight pairs still make a kernel, and a seventeenth expert does not fit.
HEAD = {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "max_position_embeddings": 1024}
WIDE = 16


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogen.routing.lowrank.STEPS", 30)


def field(number: int) -> str:
    """Made-up words of a few letters of its own."""
    draw = random.Random(number)
    letters = draw.sample("abcdefghijklmnopqrstuvwxyz", 5)
    return " ".join("".join(draw.choices(letters, k=4)) for _ in range(24)) + " "


def names(count: int) -> list[str]:
    return [f"x{number:02}" for number in range(count)]


@pytest.fixture
def build(world: Any, host: Any, tmp_path: Path) -> Callable[..., Path]:
    """``build(ids)``: a mixture of these of the 18 experts, each time in another folder."""
    zoo, count = world_of(world, "llama-tied", dtype="bfloat16", **HEAD), iter(range(99))

    def made(ids: Sequence[str], **options: Any) -> Path:
        options = {"experts": dict.fromkeys(ids, 1.0), "routing": "prefix"} | options
        return Path(assemble(made.machine, tmp_path / f"built{next(count)}", **options).folder)  # type: ignore[attr-defined]

    made.machine = host(*(spoken(zoo, id, i, field=field(i)) for i, id in enumerate(names(18))))  # type: ignore[attr-defined]
    return made


def text(number: int, length: int = 60) -> list[int]:
    found: list[int] = tokenizer()(field(number) * 9, add_special_tokens=False)["input_ids"][:length]
    return [PREFIX, *found]


def routed(model: Any, public: int, ids: list[int]) -> np.ndarray:
    """Logits of the last layer's router, without the public slot: shape (tokens, experts)."""
    seen: list[torch.Tensor] = []
    handle = gates(model)[-1].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    handle.remove()
    found: np.ndarray = np.delete(seen[0].double().numpy(), public, axis=1)
    return found


def test_the_stream_holds_features_and_routers_read_them(world: Any, host: Any, tmp_path: Path) -> None:
    """And the right one of eighteen experts is first, in sixteen dimensions."""
    zoo = world_of(world, "llama", **HEAD)
    made = [spoken(zoo, id, i, field=field(i)) for i, id in enumerate(names(18))]
    folder = assemble(host(*made), tmp_path / "out", routing="prefix").folder
    model, details, rows = loaded(folder), details_of(folder), rows_of(folder)
    public = details["slots"].index("base")
    experts = [id for id in details["slots"] if id != "base"]
    assert rows[".features"].shape == (len(tokenizer()), WIDE)
    assert all(rows[id].shape == (WIDE,) for id in experts)
    assert details["prefix"]["hidden"] == -(-(details["hidden"] + 2 + 2 * WIDE) // 32) * 32  # whatever their number
    right = 0
    for number, id in enumerate(names(18)):
        ids = text(number)
        wanted = expected(folder, ids)
        found = in_stream(model, folder, input_ids=torch.tensor([ids]))[0]
        np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
        logits = wanted @ np.stack([rows[id] for id in experts]).T.astype(np.float64)
        read = routed(model, public, ids)
        scale = (read[-1] * logits[-1]).sum() / (logits[-1] ** 2).sum()  # strength, and the size of the stream
        np.testing.assert_allclose(read[-1], scale * logits[-1], atol=1e-2 * np.abs(read[-1]).max())
        right += experts[int(read[-1].argmax())] == id
    assert right == 18


def test_features_are_forgotten_at_turns(world: Any, host: Any, tmp_path: Path) -> None:
    """What stands before a message of the user is taken out of the average of features, as of evidence."""
    zoo = with_turns(world_of(world, "llama", **HEAD))
    made = [spoken(zoo, id, i, field=field(i)) for i, id in enumerate(names(18))]
    folder = assemble(host(*made), tmp_path / "out", routing="prefix").folder
    model, planned = loaded(folder), details_of(folder)
    mark = planned["prefix"]["turn"]
    assert planned["prefix"]["hidden"] == -(-(planned["hidden"] + 4 + 3 * WIDE) // 32) * 32
    ids = [PREFIX, mark, *text(0, 40)[1:], mark, *text(5, 40)[1:]]
    plain, wanted = expected(folder, ids), forgotten(model, folder, ids)
    largest = np.abs(plain).max()
    first, second = (in_stream(model, folder, layer, input_ids=torch.tensor([ids]))[0] for layer in (0, 1))
    np.testing.assert_allclose(first, plain, atol=2e-3 * largest)
    np.testing.assert_allclose(second, wanted, atol=1e-2 * largest)
    assert np.abs(second - first).max() > 0.2 * largest


def test_features_stand_for_the_evidence_of_each_expert(build: Any, world: Any) -> None:
    """Of the tokens that experts' texts have, as far as two of eighteen dimensions can be missing."""
    folder, one = build(names(18)), build(names(WIDE))
    experts = [id for id in details_of(folder)["slots"] if id != "base"]
    found = evidence_of(folder) @ np.stack([rows_of(folder)[id] for id in experts]).T
    alone = rows_of(one)
    counts = count_tokens(tokenizer(), [field(number) for number in range(WIDE)], len(tokenizer())).numpy()
    for id in names(WIDE):
        # The prior is pooled over other sets, so the numbers are near, not equal.
        both = np.corrcoef(found[counts > 0, experts.index(id)], alone[id][counts > 0])[0, 1]
        assert both > 0.95


def test_equal_experts_are_the_dense_base(world: Any, host: Any, tmp_path: Path) -> None:
    zoo = world_of(world, "llama", **HEAD)
    for id in names(18):
        save_adapter(zoo.world.folder / f"weights-{id}", 1, alpha=0, dtype="float32")
    experts = [spoken(zoo, id, field=field(i)) for i, id in enumerate(names(18))]
    folder = assemble(host(*experts), tmp_path / "out", routing="prefix").folder
    model, base, ids = loaded(folder), zoo.model(), torch.tensor([text(3)])
    with torch.no_grad():
        wanted = base(input_ids=ids).logits
        found = model(input_ids=ids).logits
    # Sixteen dimensions of evidence beside 24 of the stream: a share in the norms that no real model has.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("public", ["mean", "base"])
def test_remove_and_add(build: Any, tmp_path: Path, public: str) -> None:
    """The bits of a build without the expert, also where the last ones have dimensions of their own again."""
    whole = build(names(18), public_expert=public)
    assert not details_of(whole)["exact"]  # features are of all experts together
    notes = [note.message for note in read_lock(whole).plan.notes]
    assert any("evidence in 16 dimensions: 18 experts share features" in note for note in notes)
    rest = "evidence" if public == "base" else "public slot, evidence"
    outcome, output = evolve(build.machine, whole, tmp_path / "17", remove=["x17"])
    assert output == f"kept as they are: {', '.join(names(17))}; made anew: {rest}"
    assert bits(outcome.folder) == bits(build(names(17), public_expert=public))
    outcome, _ = evolve(build.machine, tmp_path / "17", tmp_path / "16", remove=["x16"])
    assert bits(outcome.folder) == bits(build(names(16), public_expert=public))
    assert ".features" not in rows_of(tmp_path / "16")
    assert not any("share features" in note.message for note in read_lock(tmp_path / "16").plan.notes)
    outcome, _ = evolve(build.machine, tmp_path / "16", tmp_path / "back", add=["x16", "x17"])
    assert bits(outcome.folder) == bits(whole)


def test_replay(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the router file nothing is computed again; one of other experts is refused."""
    first, other = build(names(18)), build(names(17))
    lock = read_lock(first)
    recipe = recipe_of(lock.plan, scale=lock.scale)
    again = carry_out(build.machine, recipe, tmp_path / "again", replay=lock)
    assert bits(again.folder) == bits(first)
    monkeypatch.setattr("cogen.fusion.moe.prefix.rows.count_tokens", lambda *_: pytest.fail("text is read"))
    monkeypatch.setattr("cogen.fusion.moe.prefix.rows.factors", lambda *_: pytest.fail("evidence is factored"))
    quick = carry_out(
        build.machine, recipe, tmp_path / "quick", replay=lock, routers=first / "router/router.safetensors"
    )
    assert bits(quick.folder) == bits(first)
    rows, base = read_rows(other / "router/router.safetensors"), open_weights(lock.plan.base)
    with pytest.raises(SourceError, match="the router file has no x17 of 16 numbers"):
        read_prefix_rows(rows, lock.plan.details, base)
