"""Routing prefix in chats: what stands before a message of the user is taken out of the average."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.families import FAMILIES
from support.mixtures import assemble, loaded
from support.prefix import (
    FIELDS,
    PREFIX,
    WORLDS,
    details_of,
    evidence_of,
    expected,
    field_ids,
    forgotten,
    in_stream,
    spoken,
    with_turns,
    world_of,
)
from support.tiny import logits, save_adapter, tokenizer

from cogen.fusion.details import PlannedPrefix


@pytest.fixture(params=sorted(WORLDS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def built(world: Any, host: Any, family: str, tmp_path: Path) -> Path:
    """A mixture of two experts whose base has a chat template."""
    zoo = with_turns(world_of(world, family))
    experts = [spoken(zoo, "e1", 1), spoken(zoo, "e2", 2)]
    return Path(assemble(host(*experts), tmp_path / "out", routing="prefix").folder)


def chat_ids(folder: Path, *fields: str, length: int = 40) -> list[int]:
    """The prefix token, and a message of the user about each field."""
    mark = details_of(folder)["prefix"]["turn"]
    found = [PREFIX]
    for id in fields:
        found += [mark, *tokenizer()(FIELDS[id] * 40, add_special_tokens=False)["input_ids"][:length]]
    return found


def window_of(family: str) -> int | None:
    found: int | None = FAMILIES[family][1].get("sliding_window")
    return found


def test_the_mark_is_found(built: Path) -> None:
    """The letter before the user's messages; it says nothing."""
    mark = details_of(built)["prefix"]["turn"]
    assert mark in tokenizer()("¶", add_special_tokens=False)["input_ids"]
    assert not evidence_of(built)[mark].any()
    assert json.loads((built / "config.json").read_text())["hidden_size"] == 64


def test_the_stream_holds_the_closed_form(built: Path, family: str) -> None:
    """The plain average in the first layer, and what forgets in the second."""
    model, ids = loaded(built), chat_ids(built, "e1", "e2", "e3")
    window = window_of(family)
    plain, wanted = expected(built, ids, window), forgotten(model, built, ids, window)
    largest = np.abs(plain).max()
    first, second = (in_stream(model, built, layer, input_ids=torch.tensor([ids]))[0] for layer in (0, 1))
    np.testing.assert_allclose(first, plain, atol=2e-3 * largest)
    np.testing.assert_allclose(second, wanted, atol=1e-2 * largest)
    assert np.abs(second - first).max() > 0.2 * largest  # and it does forget


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"], indirect=True)
def test_a_turn_is_judged_by_itself(built: Path, family: str) -> None:
    """Ten tokens into a new message little of the one before is left, of which without it most would be. Less where
    sizes of the stream, which differ widely in random models, don't scale the second layer's scores."""
    least = 2.5 if family == "qwen3" else 1.25
    model, mark = loaded(built), 42
    ids = chat_ids(built, "e1", "e2")
    assert ids[mark] == details_of(built)["prefix"]["turn"]
    silent = [PREFIX, *[ids[mark]] * (mark - 1), *ids[mark:]]  # the same message after nothing that speaks
    wanted = in_stream(model, built, 1, input_ids=torch.tensor([silent]))[0][mark + 5 : mark + 15]
    found = in_stream(model, built, 1, input_ids=torch.tensor([ids]))[0][mark + 5 : mark + 15]
    without = expected(built, ids)[mark + 5 : mark + 15]
    assert np.abs(without - wanted).mean() > least * np.abs(found - wanted).mean()


def test_text_without_turns_is_not_touched(built: Path) -> None:
    """Not by a rounding error: the two heads of the first layer have the same queries."""
    model, ids = loaded(built), torch.tensor([field_ids("e1", "e2")])
    first, second = (in_stream(model, built, layer, input_ids=ids) for layer in (0, 1))
    assert np.array_equal(first, second)


def test_equal_experts_are_the_dense_base(world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """In a chat too."""
    zoo = with_turns(world_of(world, family))
    for id in ("e1", "e2"):
        save_adapter(world.folder / f"weights-{id}", 1, alpha=0, dtype="float32")
    folder = assemble(host(spoken(zoo, "e1"), spoken(zoo, "e2")), tmp_path / "out", routing="prefix").folder
    model, base, ids = loaded(folder), zoo.model(), torch.tensor([chat_ids(folder, "e1", "e2", "e3")])
    with torch.no_grad():
        found, wanted = model(input_ids=ids).logits, base(input_ids=ids).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-5 * float(wanted.abs().max()))
    torch.testing.assert_close(logits(model), logits(base), rtol=0, atol=3e-5 * float(logits(base).abs().max()))


def test_with_a_cache_and_in_batches(built: Path) -> None:
    """A token at a time, and beside a longer row, padded on the left."""
    model, long, short = loaded(built), chat_ids(built, "e1", "e2"), chat_ids(built, "e3", "e1", length=20)
    with torch.no_grad():
        whole = model(input_ids=torch.tensor([long])).logits
        step, cache, parts = None, None, []
        for token in long:
            step = model(input_ids=torch.tensor([[token]]), cache=cache, use_cache=True)
            cache = step.past_key_values
            parts.append(step.logits)
        alone = model(input_ids=torch.tensor([short])).logits
        padding = len(long) - len(short)
        mask = torch.tensor([[1] * len(long), [0] * padding + [1] * len(short)])
        rows = torch.tensor([long, [PREFIX] * padding + short])
        places = (mask.cumsum(1) - 1).clamp(min=0)
        batch = model(input_ids=rows, attention_mask=mask, position_ids=places).logits
    share = 1e-4 * float(whole.abs().max())
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=share)
    torch.testing.assert_close(batch[:1], whole, rtol=0, atol=share)
    torch.testing.assert_close(batch[1:, padding:], alone, rtol=0, atol=share)


def test_without_room_nothing_is_forgotten(world: Any, host: Any, tmp_path: Path) -> None:
    """One query head a key-value head: no second one is free."""
    zoo = with_turns(world_of(world, "llama", num_key_value_heads=4))
    folder = assemble(host(spoken(zoo, "e1")), tmp_path / "out", routing="prefix").folder
    planned = details_of(folder)["prefix"]
    assert (planned["turn"], planned["reset"]) == (None, 0.0)


def test_an_older_lock_has_no_turns() -> None:
    """Its plan names none."""
    old = {"public": "mean", "hidden": 64, "heads": 6, "groups": 3, "depth": 11.0, "strength": 20.0, "mass": 20.0}
    assert PlannedPrefix.model_validate(old).turn is None
