"""Which strategy "auto" means, and plans of mixtures: what they say, and that they come back as they went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.families import LAYERS, Zoo, dense
from support.mixtures import Words

from cogen.cli.options import FuseArguments
from cogen.errors import UsageError
from cogen.fusion.moe import routers
from cogen.fusion.plan import moved, read_plan
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.runs.replay import recipe_of


@pytest.fixture(autouse=True)
def _embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "Embedder", Words)


def frozen(world: Zoo) -> list[Any]:
    return [world.ffn("e1", 1), world.ffn("e2", 2)]


def anchored(world: Zoo) -> list[Any]:
    return [world.anchored("e1", 1), world.anchored("e2", 2)]


def mixed(world: Zoo) -> list[Any]:
    return [world.anchored("e1", 1), world.ffn("e2", 2)]


def whole(world: Zoo) -> list[Any]:
    return [world.full("e1", dense("llama-tied", 1)), world.ffn("e2", 2)]


STRATEGIES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "frozen experts are merged": (frozen, {}, "merge"),
    "anchored ones stand side by side": (anchored, {}, "moe"),
    "one that is not decides": (mixed, {}, "merge"),
    "one alone is taken as it is": (lambda world: anchored(world)[:1], {}, "merge"),
    "a routing says which": (frozen, {"routing": "hidden"}, "moe"),
    "so does a number of experts": (frozen, {"top_k": 2}, "moe"),
    "and leaving the base out": (frozen, {"public": False}, "moe"),
    "a method says merge": (anchored, {"method": "ties", "scale": 0.5}, "merge"),
    "the default method too": (anchored, {"method": "task_arithmetic"}, "merge"),
    "a scale says merge": (anchored, {"scale": 0.5}, "merge"),
    "what is asked for is done": (anchored, {"strategy": "merge"}, "merge"),
    "either way": (frozen, {"strategy": "moe"}, "moe"),
}


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_auto(zoo: Any, host: Any, name: str) -> None:
    """A mixture where all experts ship rows that were trained for it, or where a wish is a mixture's."""
    make, output, strategy = STRATEGIES[name]
    plan, _ = make_plan(host(*make(zoo())), FuseRecipe(level="quick", **output))
    assert (plan.strategy, plan.details.strategy) == (strategy, strategy)
    if len(plan.experts) > 1 and strategy == "merge":
        assert plan.why.endswith("(--strategy moe stacks them instead)")


def test_same_size() -> None:
    """Is strategy merge, and nothing else."""

    def strategy(**options: Any) -> str | None:
        return FuseArguments(**options).keywords().get("strategy")

    assert strategy(same_size=True) == "merge"
    assert strategy(strategy="merge", same_size=True) == "merge"
    assert strategy() is None
    with pytest.raises(UsageError, match="--same-size is strategy merge, not moe") as caught:
        strategy(strategy="moe", same_size=True)
    assert caught.value.hint


def test_what_a_plan_says(zoo: Any, host: Any) -> None:
    """Slots, widths, counts of parameters and tokens: from headers, and equal to what the model has."""
    world = zoo("llama-tied", dtype="bfloat16")
    wide = dense("llama-tied", 1, "bfloat16", intermediate_size=80)
    experts = [world.full("e1", wide), world.ffn("e2", 2)]
    plan, inputs = make_plan(host(*experts), FuseRecipe(strategy="moe", routing="hidden", top_k=2))
    mixture = plan.details
    assert mixture is not None
    assert mixture.slots == ("base", *(e.id for e in plan.experts))
    assert [e.weights_digest for e in plan.experts] == sorted(e.spec.model.weights_digest for e in experts)
    assert (mixture.architecture, mixture.width, mixture.layers, mixture.hidden) == ("MixtralForCausalLM", 80, 2, 32)
    expert = 3 * 32 * 80
    attention = 2 * 32 * 32 + 2 * 32 * 16
    shared = 300 * 32 + LAYERS * (attention + 2 * 32) + 32
    assert mixture.parameters == shared + LAYERS * (3 * 32 + 3 * expert)
    assert mixture.active == mixture.parameters - LAYERS * expert
    assert plan.cost.output_bytes == 2 * mixture.parameters
    assert mixture.merged == plan.changed_tensors == len(inputs.base.tensors) - LAYERS * 4  # blocks, folded norms
    assert not mixture.exact
    assert plan.cost.routing_tokens > 0
    assert plan.cost.forward_tokens == (
        plan.cost.search_tokens + plan.cost.matrix_tokens + plan.cost.routing_tokens + plan.cost.insight_tokens
    )
    assert plan.cost.search_tokens == 0


RECIPES: list[dict[str, Any]] = [
    {},
    {"routing": "hidden"},
    {"routing": "embedding", "top_k": 1, "public": False},
    {"routing": "embedding", "embedder": "file:///somewhere/"},
    {"routing": "trained", "top_k": 3},
    {"strategy": "moe"},
    {"strategy": "merge"},
    {"method": "task_arithmetic"},
    {"method": "ties", "scale": 0.4, "parameters": {"density": 0.3}},
]


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_round_trip(zoo: Any, host: Any, tmp_path: Path, number: int) -> None:
    """plan → JSON → plan; and the wishes of a plan give the plan again, whoever chose the strategy."""
    machine = host(*anchored(zoo()))
    plan, _ = make_plan(machine, FuseRecipe(level="quick", **RECIPES[number]))
    (tmp_path / "plan.json").write_text(plan.model_dump_json(indent=2))
    read = read_plan(tmp_path / "plan.json")
    assert (read, read.digest, read.inputs_digest) == (plan, plan.digest, plan.inputs_digest)
    assert make_plan(machine, recipe_of(read))[0] == plan
    assert moved(read, plan) == []


@pytest.mark.parametrize("output", [{}, {"method": "slerp", "parameters": {"t": 0.2}}, {"method": "task_arithmetic"}])
def test_round_trip_of_full_experts(zoo: Any, host: Any, output: dict[str, Any]) -> None:
    """With the method for what they share, weights where it takes them."""
    weights = {} if output.get("method") == "slerp" else {"experts": {"e1": 2.0, "e2": 1.0}}
    machine = host(*whole(zoo()))
    plan, _ = make_plan(machine, FuseRecipe(strategy="moe", routing="hidden", level="none", **output, **weights))
    assert make_plan(machine, recipe_of(plan))[0] == plan


def test_the_order_of_wishes_changes_nothing(zoo: Any, host: Any) -> None:
    """Slots are in the order of the weights digests."""
    machine = host(*anchored(zoo()))
    plans = [
        make_plan(machine, FuseRecipe(level="none", experts=dict.fromkeys(order, 1.0)))[0].digest
        for order in (["e1", "e2"], ["e2", "e1"])
    ]
    assert plans[0] == plans[1]


def test_the_inputs_digest(zoo: Any, host: Any) -> None:
    """Changes with all that decides the weights, samples and rows too; not with the evaluation."""
    world = zoo()
    machine = host(*anchored(world))
    first: dict[str, Any] = {"strategy": "moe", "routing": "hidden", "level": "none"}
    changes: list[dict[str, Any]] = [
        {},
        {"routing": "anchored"},
        {"routing": "trained"},
        {"routing": "embedding"},
        {"routing": "embedding", "embedder": "file:///other/"},
        {"top_k": 1},
        {"top_k": 3},
        {"public": False},
        {"experts": {"e1": 1.0}},
        {"strategy": "merge", "routing": None, "scale": 1.0},
    ]
    digests = [make_plan(machine, FuseRecipe(**(first | change)))[0].inputs_digest for change in changes]
    assert len(set(digests)) == len(digests)
    assert make_plan(machine, FuseRecipe(**(first | {"level": "quick"})))[0].inputs_digest == digests[0]
    other = host(
        world.anchored("e1", 1, rows=dense("llama").lm_head.weight[:2].detach().clone()), world.anchored("e2", 2)
    )
    assert make_plan(other, FuseRecipe(**first))[0].inputs_digest not in digests
