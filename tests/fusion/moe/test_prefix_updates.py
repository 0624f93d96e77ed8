"""Routing prefix through locks: experts come and go bit for bit, and a lock replays without any model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.mixtures import assemble, bits, carry_out, evolve
from support.prefix import details_of, spoken, with_turns, world_of

from cogen.artifacts.lock import read_lock
from cogen.errors import UsageError
from cogen.runs.replay import recipe_of


@pytest.fixture(params=[False, True], ids=["", "chats"])
def build(world: Any, host: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """``build("e1", "e2", public_expert=…)``: a mixture of these experts, each time in another folder; of a base with
    and without a chat template whose turns are forgotten."""
    zoo, count = world_of(world, "llama-tied", dtype="bfloat16"), iter(range(99))
    if request.param:
        with_turns(zoo)

    def made(*ids: str, **options: Any) -> Path:
        options = {"experts": dict.fromkeys(ids, 1.0), "routing": "prefix"} | options
        return Path(assemble(made.machine, tmp_path / f"built{next(count)}", **options).folder)  # type: ignore[attr-defined]

    made.machine = host(*(spoken(zoo, f"e{i}", i) for i in (1, 2, 3)))  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("public", ["mean", "base"])
def test_remove_and_add(build: Any, tmp_path: Path, public: str) -> None:
    """What is left has the SHA-256 of the build that never had the expert, whichever it is; and back again."""
    whole = build("e1", "e2", "e3", public_expert=public)
    assert details_of(whole)["exact"] is (public == "base")
    rest = "nothing is made anew" if public == "base" else "made anew: public slot, evidence"
    for gone in ("e1", "e3"):
        left = sorted({"e1", "e2", "e3"} - {gone})
        outcome, output = evolve(build.machine, whole, tmp_path / f"no-{gone}", remove=[gone])
        assert output == f"kept as they are: {', '.join(left)}; {rest}"
        assert bits(outcome.folder) == bits(build(*left, public_expert=public))
    last, _ = evolve(build.machine, tmp_path / "no-e3", tmp_path / "last", remove=["e1"])
    assert bits(last.folder) == bits(build("e2", public_expert=public))
    back, output = evolve(build.machine, tmp_path / "last", tmp_path / "back", add=["e3", "e1"])
    assert bits(back.folder) == bits(whole)
    assert output.startswith("kept as they are: e2; made anew: e1, e3")


@pytest.mark.parametrize("public", ["mean", "base"])
def test_replay(build: Any, tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty cache; and with the router file beside the lock without reading text or running a model."""
    first = build("e1", "e2", public_expert=public)
    lock = read_lock(first)
    recipe = recipe_of(lock.plan, scale=lock.scale)
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "empty"))
    again = carry_out(build.machine, recipe, tmp_path / "again", replay=lock)
    assert bits(again.folder) == bits(first)
    monkeypatch.setattr("cogen.fusion.moe.routers.load_model", lambda *_: pytest.fail("a model is loaded"))
    monkeypatch.setattr("cogen.fusion.moe.prefix.rows.count_tokens", lambda *_: pytest.fail("text is read"))
    rows = first / "router/router.safetensors"
    quick = carry_out(build.machine, recipe, tmp_path / "quick", replay=lock, routers=rows)
    assert bits(quick.folder) == bits(first)


def test_options_of_other_routings(build: Any) -> None:
    """Named, with what to do."""
    with pytest.raises(UsageError, match="public slot") as caught:
        build("e1", public=False)
    assert "--no-public" in str(caught.value.hint)
    with pytest.raises(UsageError, match="public_expert is for routing prefix"):
        build("e1", routing="hidden", public_expert="mean")
