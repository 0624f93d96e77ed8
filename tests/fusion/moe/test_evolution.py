"""``--add`` and ``--remove``: opting out is real, and nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.families import dense
from support.mixtures import Words, as_before, assemble, bits, carry_out, close, evolve, loaded
from support.tiny import logits, save_adapter

from cogen.artifacts.lock import read_lock
from cogen.checkpoints.adapter import LoraAdapter
from cogen.errors import PlanError, UsageError
from cogen.fusion import routing_data
from cogen.fusion.moe import routers
from cogen.fusion.recipe import TOTALS, FuseRecipe
from cogen.merging.operands import Stored
from cogen.runs.replay import recipe_of, routers_beside

EXACT = ["hidden", "embedding", "anchored"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "Embedder", Words)
    monkeypatch.setattr("cogen.fusion.moe.train_routers.STEPS", 2)


@pytest.fixture
def build(zoo: Any, host: Any, tmp_path: Path) -> Callable[..., Path]:
    """``build("e1", "e2", routing=…)``: a mixture of these experts of one world, each time in another folder."""
    world, count = zoo(dtype="bfloat16"), iter(range(99))

    def made(*ids: str, **recipe_of: Any) -> Path:
        recipe_of["experts"] = dict.fromkeys(ids, 1.0)
        return Path(assemble(made.machine, tmp_path / f"built{next(count)}", **recipe_of).folder)  # type: ignore[attr-defined]

    made.machine = host(*(world.anchored(f"e{i}", i) for i in (1, 2, 3)))  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("public", [True, False])
@pytest.mark.parametrize("routing", EXACT)
class TestExact:
    """Weights, configuration and routers have the SHA-256 of the build that never had the expert, or always."""

    def test_remove(self, build: Any, tmp_path: Path, routing: str, public: bool) -> None:
        """Whichever is taken out; one by one, too, until one is left."""
        recipe_of = {"routing": routing, "public": public}
        whole = build("e1", "e2", "e3", **recipe_of)
        for gone in ("e1", "e2", "e3"):
            left = sorted({"e1", "e2", "e3"} - {gone})
            outcome, output = evolve(build.machine, whole, tmp_path / f"no-{gone}", remove=[gone])
            assert output == f"kept as they are: {', '.join(left)}; nothing is made anew"
            assert bits(outcome.folder) == bits(build(*left, **recipe_of))
        last, _ = evolve(build.machine, tmp_path / "no-e3", tmp_path / "last", remove=["e2"])
        assert bits(last.folder) == bits(build("e1", **recipe_of))
        assert last.lock.plan.details.top_k == (2 if public else 1)

    def test_add(self, build: Any, tmp_path: Path, routing: str, public: bool) -> None:
        """Also onto a mixture of one, where fewer worked on a token than would; and out again."""
        recipe_of = {"routing": routing, "public": public}
        before = build("e2", **recipe_of)
        outcome, output = evolve(build.machine, before, tmp_path / "more", add=["e3"])
        assert output == "kept as they are: e2; made anew: e3"
        assert bits(outcome.folder) == bits(build("e2", "e3", **recipe_of))
        both, output = evolve(build.machine, tmp_path / "more", tmp_path / "other", add=["e1"], remove=["e2"])
        assert output == "kept as they are: e3; made anew: e1"
        assert bits(both.folder) == bits(build("e1", "e3", **recipe_of))
        back, _ = evolve(build.machine, tmp_path / "more", tmp_path / "back", remove=["e3"])
        assert bits(back.folder) == bits(before)


def test_only_the_new_expert_is_read(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the factors nor the samples of an expert that stays, nor the base's own blocks; routing hidden."""
    before = build("e1", "e2", routing="hidden")
    seen: set[str] = set()
    delta, read, texts = LoraAdapter.delta, Stored.read, routing_data.sample_texts

    def watch_delta(self: Any, *arguments: Any) -> Any:
        seen.add(self.folder.name)
        return delta(self, *arguments)

    def watch_read(self: Any, *arguments: Any) -> Any:
        seen.add(self.checkpoint.adapter.folder.name if self.checkpoint.adapter else "base")
        return read(self, *arguments)

    monkeypatch.setattr(LoraAdapter, "delta", watch_delta)
    monkeypatch.setattr(Stored, "read", watch_read)
    monkeypatch.setattr(routing_data, "sample_texts", lambda expert: seen.add(expert.id) or texts(expert))
    evolve(build.machine, before, tmp_path / "more", add=["e3"])
    assert seen == {"weights-e3", "e3"}
    seen.clear()
    evolve(build.machine, before, tmp_path / "less", remove=["e1"])
    assert seen == set()


def test_top_k_is_lowered_where_needed(build: Any, tmp_path: Path) -> None:
    """To the number of experts that are left, and no further."""
    whole = build("e1", "e2", "e3", routing="hidden", top_k=4)
    two, _ = evolve(build.machine, whole, tmp_path / "two", remove=["e1"])
    assert two.lock.plan.details.top_k == 3
    assert loaded(two.folder).config.num_experts_per_tok == 3
    one, _ = evolve(build.machine, whole, tmp_path / "one", remove=["e1", "e3"])
    assert one.lock.plan.details.top_k == 2
    assert bits(one.folder) == bits(build("e2", routing="hidden"))


def test_the_last_one_alone_is_that_expert(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Without the base as an expert, trained or not: one slot, one expert a token, the expert's logits."""
    world = zoo()
    machine = host(*(world.ffn(f"e{i}", i) for i in (1, 2)))
    for routing in ("hidden", "trained"):
        whole = assemble(machine, tmp_path / routing, routing=routing, public=False).folder
        one, _ = evolve(machine, whole, tmp_path / f"{routing}-one", remove=["e1"])
        alone = carry_out(
            machine, FuseRecipe(strategy="merge", level="none", experts={"e2": 1.0}), tmp_path / f"{routing}-merged"
        )
        assert one.lock.plan.details.top_k == 1
        close(logits(loaded(one.folder)), logits(loaded(alone.folder)))
        assert bits(one.folder) == bits(
            assemble(machine, tmp_path / f"{routing}-fresh", routing=routing, public=False, experts={"e2": 1.0}).folder
        )


class TestRebuilt:
    """What cannot be exact is built anew from the experts of the lock, and says so."""

    def test_trained_routers(self, build: Any, tmp_path: Path) -> None:
        """The same as a fresh build of those that are left."""
        whole = build("e1", "e2", "e3", routing="trained")
        outcome, output = evolve(build.machine, whole, tmp_path / "out", remove=["e2"])
        assert output == "rebuilt from e1, e3: its routers were trained with all of its experts"
        assert bits(outcome.folder) == bits(build("e1", "e3", routing="trained"))

    @pytest.mark.parametrize("method", [None, "task_arithmetic"])
    def test_full_experts(self, zoo: Any, host: Any, tmp_path: Path, method: str | None) -> None:
        """They share their attention: what is left is averaged, or merged as before; weights stay."""
        world = zoo(dtype="bfloat16")
        machine = host(*(world.full(f"e{i}", dense("llama-tied", i, "bfloat16")) for i in (1, 2, 3)))
        output: dict[str, Any] = {"routing": "hidden"} | ({} if method is None else {"method": method})
        whole = assemble(machine, tmp_path / "whole", experts={"e1": 2.0, "e2": 1.0, "e3": 1.0}, **output).folder
        outcome, reported = evolve(machine, whole, tmp_path / "out", remove=["e3"])
        assert reported == "rebuilt from e1, e2: experts share what is not a feed-forward block"
        fresh = assemble(machine, tmp_path / "fresh", experts={"e1": 2.0, "e2": 1.0}, **output).folder
        assert bits(outcome.folder) == bits(fresh)

    def test_only_frozen_ones_are_left(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """The method and the weights were for what the full one changed: they go with it."""
        world = zoo()
        machine = host(world.ffn("e1"), world.full("e2", dense("llama-tied", 2)))
        output = {"routing": "hidden", "method": "ties", "scale": 0.5, "parameters": {"density": 0.3}}
        whole = assemble(machine, tmp_path / "whole", experts={"e1": 2.0, "e2": 1.0}, **output).folder
        outcome, _ = evolve(machine, whole, tmp_path / "out", remove=["e2"])
        fresh = assemble(machine, tmp_path / "fresh", experts={"e1": 1.0}, routing="hidden").folder
        assert bits(outcome.folder) == bits(fresh)

    def test_an_adapter_that_says_too_little(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """One that touches attention under the name of 'ffn' makes no exact mixture: what its tensors say counts."""
        world = zoo()
        folder = save_adapter(world.world.folder / "weights-e1", 1)
        tensors = load_file(folder / "adapter_model.safetensors")
        for letter, shape in (("A", (4, 32)), ("B", (32, 4))):
            tensors[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{letter}.weight"] = torch.ones(shape) / 9
        save_file(tensors, folder / "adapter_model.safetensors")
        config = json.loads((folder / "adapter_config.json").read_text())
        config["target_modules"].append("q_proj")
        (folder / "adapter_config.json").write_text(json.dumps(config))
        machine = host(world.ffn("e1"), world.ffn("e2", 2))
        whole = assemble(machine, tmp_path / "whole", routing="hidden")
        assert (whole.lock.plan.details.merged, whole.lock.plan.details.exact) == (1, False)
        outcome, output = evolve(machine, whole.folder, tmp_path / "out", remove=["e1"])
        assert output.startswith("rebuilt from e2")
        fresh = assemble(machine, tmp_path / "fresh", routing="hidden", experts={"e2": 1.0}).folder
        assert bits(outcome.folder) == bits(fresh)

    def test_other_widths(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """The widest goes: all others are padded less."""
        world = zoo()
        wide = dense("llama-tied", 5, intermediate_size=96)
        machine = host(world.full("e1", wide), world.ffn("e2"))
        whole = assemble(machine, tmp_path / "whole", routing="hidden").folder
        outcome, output = evolve(machine, whole, tmp_path / "out", remove=["e1"])
        assert output.startswith("rebuilt from e2")
        assert outcome.lock.plan.details.width == 64
        assert bits(outcome.folder) == bits(
            assemble(machine, tmp_path / "fresh", routing="hidden", experts={"e2": 1.0}).folder
        )

    def test_a_merge(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """It stays a merge, also of experts that would make a mixture by themselves; method and scale stay."""
        world = zoo(dtype="bfloat16")
        machine = host(*(world.anchored(f"e{i}", i) for i in (1, 2, 3)))
        recipe_of: dict[str, Any] = {"strategy": "merge", "level": "none", "scale": 0.4}
        whole = carry_out(machine, FuseRecipe(**recipe_of), tmp_path / "whole").folder
        outcome, output = evolve(machine, whole, tmp_path / "out", remove=["e1"])
        assert output == "a merge has no experts to take out or put in: it is rebuilt from e2, e3"
        fresh = carry_out(machine, FuseRecipe(experts={"e2": 1.0, "e3": 1.0}, **recipe_of), tmp_path / "fresh").folder
        assert outcome.lock.plan.strategy == "merge"
        assert (outcome.folder / "model.safetensors").read_bytes() == (fresh / "model.safetensors").read_bytes()

    def test_a_merge_that_searched(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """It searches again, where the new number of experts lets one look; without an evaluation its choice stays."""
        world = zoo(dtype="bfloat16")
        machine = host(*(world.ffn(f"e{i}", i) for i in (1, 2, 3)))
        whole = carry_out(machine, FuseRecipe(level="quick"), tmp_path / "whole").folder
        outcome, _ = evolve(machine, whole, tmp_path / "out", remove=["e1"])
        assert outcome.lock.plan.scales == tuple(total / 2 for total in TOTALS)
        assert len(outcome.trials) == len(TOTALS)
        quiet, _ = evolve(machine, whole, tmp_path / "quiet", remove=["e1"], level="none")
        assert (quiet.scale, quiet.trials) == (read_lock(whole).scale, [])

    def test_a_weight_that_was_tuned(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """Is not looked for any more when its expert is gone."""
        world = zoo(dtype="bfloat16")
        machine = host(*(world.ffn(f"e{i}", i) for i in (1, 2, 3)))
        space = {"weight.e1": (0.0, 2.0), "weight.e2": (0.0, 2.0)}
        recipe = FuseRecipe(level="quick", method="linear", scale=1.0, search=2, space=space)
        whole = carry_out(machine, recipe, tmp_path / "whole").folder
        outcome, _ = evolve(machine, whole, tmp_path / "out", remove=["e1"])
        assert outcome.lock.plan.space == {"weight.e2": (0.0, 2.0)}


class TestRefused:
    """Nothing is changed, and nothing guessed."""

    @pytest.mark.parametrize(
        ("add", "remove", "message"),
        [
            ([], ["e3"], "e3 is not in "),
            (["e1"], [], "e1 is in .* already"),
            (["e1"], ["e1"], "e1 is in .* already"),
            ([], ["e1", "e2"], "cannot remove the last expert"),
        ],
    )
    def test_wishes(self, build: Any, tmp_path: Path, add: list[str], remove: list[str], message: str) -> None:
        """An expert that is not there, that is there already, or nobody left."""
        before = build("e1", "e2", routing="anchored")
        with pytest.raises(UsageError, match=message) as caught:
            evolve(build.machine, before, tmp_path / "out", add=add, remove=remove)
        assert caught.value.hint
        assert not (tmp_path / "out").exists()

    def test_composites(self, build: Any, tmp_path: Path) -> None:
        """A folder without a lock, and files that are not the lock's."""
        with pytest.raises(UsageError, match=r"has no cogen\.lock") as caught:
            evolve(build.machine, tmp_path / "base", tmp_path / "out", remove=["e1"])
        assert caught.value.hint
        for name in ("model.safetensors", "config.json", "router/router.safetensors"):
            before = build("e1", "e2", routing="anchored")
            content = bytearray((before / name).read_bytes())
            content[-1] ^= 1
            (before / name).write_bytes(content)
            with pytest.raises(PlanError, match=f"{name} differs from its lock") as caught:
                evolve(build.machine, before, tmp_path / "out", remove=["e1"])
            assert caught.value.hint

    def test_an_expert_that_moved_is_made_anew(self, build: Any, zoo: Any, host: Any, tmp_path: Path) -> None:
        """Under the same name, other weights are another expert."""
        before = build("e1", "e2", routing="hidden")
        world = zoo(dtype="bfloat16")
        (world.world.folder / "weights-e2").rename(tmp_path / "old")
        machine = host(build.machine.expert("e1"), world.anchored("e2", 8), build.machine.expert("e3"))
        outcome, output = evolve(machine, before, tmp_path / "out", add=["e3"])
        assert output == "kept as they are: e1; made anew: e2, e3"
        assert bits(outcome.folder) == bits(assemble(machine, tmp_path / "fresh", routing="hidden").folder)


class TestReplay:
    """The same lock, the same bits."""

    @pytest.mark.parametrize("routing", ["hidden", "trained"])
    def test_a_lock(self, build: Any, tmp_path: Path, routing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With an empty cache; and with the rows' file beside it without running any model."""
        first = build("e1", "e2", routing=routing)
        lock = read_lock(first)
        monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "empty"))
        recipe = recipe_of(lock.plan, scale=lock.scale)
        again = carry_out(build.machine, recipe, tmp_path / "again", replay=lock)
        assert bits(again.folder) == bits(first)
        monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "empty too"))
        monkeypatch.setattr(routers, "load_model", lambda *_: pytest.fail("a model is loaded"))
        rows = first / "router/router.safetensors"
        quick = carry_out(build.machine, recipe, tmp_path / "quick", replay=lock, routers=rows)
        assert bits(quick.folder) == bits(first)

    @pytest.mark.parametrize("routing", ["hidden", "anchored"])
    def test_composites_of_before(self, build: Any, tmp_path: Path, routing: str) -> None:
        """Whose router rows lie beside the weights: updated and replayed to the same bits, in today's places."""
        first = build("e1", "e2", "e3", routing=routing)
        wanted, smaller = bits(first), evolve(build.machine, first, tmp_path / "smaller", remove=["e3"])[0].folder
        old = as_before(first)
        again, message = evolve(build.machine, old, tmp_path / "again", remove=["e3"])
        assert message.startswith("kept as they are: e1, e2;")
        assert bits(again.folder) == bits(smaller)
        lock = read_lock(old)
        rows = routers_beside(old / "cogen.lock")
        assert rows == old / "router.safetensors"
        replayed = carry_out(build.machine, recipe_of(lock.plan), tmp_path / "replayed", replay=lock, routers=rows)
        assert bits(replayed.folder) == wanted

    def test_other_rows_than_the_locks(self, build: Any, tmp_path: Path) -> None:
        """A file that is not the lock's is no reason to report a bug: it is named."""
        first, other = build("e1", "e2", routing="hidden"), build("e1", "e2", routing="anchored")
        lock = read_lock(first)
        with pytest.raises(PlanError, match=r"router\.safetensors does not match the digest in the lock") as caught:
            carry_out(
                build.machine,
                recipe_of(lock.plan),
                tmp_path / "out",
                replay=lock,
                routers=other / "router/router.safetensors",
            )
        assert "delete it" in str(caught.value.hint)
        assert not (tmp_path / "out").exists()
