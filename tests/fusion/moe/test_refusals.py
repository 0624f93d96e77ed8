"""What cannot be a mixture is refused before anything is fetched or read, with what works instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.families import Zoo, dense

from cogen.errors import CogenError, CompatibilityError, UsageError
from cogen.fusion.merge import inputs
from cogen.fusion.moe.targets import TARGETS, target_of
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe

ZERO = "sha256:" + "0" * 64
MOE: dict[str, Any] = {"strategy": "moe", "level": "none", "routing": "hidden"}


def two(world: Zoo) -> list[Any]:
    return [world.ffn("e1", 1), world.ffn("e2", 2)]


def lineages(world: Zoo) -> list[Any]:
    other = world.world.base(seed=8, name="other", dtype="float32")
    return [world.ffn("e1", 1), world.world.expert("e2", 2, base=other)]


def tokenizers(world: Zoo) -> list[Any]:
    return [world.ffn("e1", 1), world.ffn("e2", 2), world.ffn("e3", 3, tokenizer_is=ZERO)]


def another(architecture: str) -> Any:
    return lambda world: [world.ffn(f"e{i}", i, manifest={"architecture": architecture}) for i in (1, 2)]


def scratch(world: Zoo) -> list[Any]:
    return [world.ffn("e1"), world.full("e2", world.model(3), manifest={"relation": "scratch", "base": None})]


def no_derivatives(world: Zoo) -> list[Any]:
    return [world.ffn("e1"), world.ffn("e2", 2, derivatives="no")]


def one_anchored(world: Zoo) -> list[Any]:
    return [world.anchored("e1"), world.ffn("e2", 2)]


#: Name → experts, wishes, error, message, and two words of the hint.
REFUSED: dict[str, tuple[Any, dict[str, Any], type[CogenError], str, tuple[str, ...]]] = {
    "lineages": (lineages, {}, CompatibilityError, "e1 from The base; e2 from The other", ("distill", "route")),
    "tokenizers": (tokenizers, {}, CompatibilityError, "the one of e3 is not that of e1", ("distill", "route")),
    "union": (two, {"tokenizer": "union"}, CompatibilityError, "one tokenizer, that of its base", ("distill",)),
    "gemma": (another("Gemma3ForCausalLM"), {}, CompatibilityError, "e1 is a Gemma3ForCausalLM", ("distill", "merge")),
    "phi": (another("Phi3ForCausalLM"), {}, CompatibilityError, "gate and up projections are one", ("distill",)),
    "neox": (another("GPTNeoXForCausalLM"), {}, CompatibilityError, "run side by side", ("distill", "route")),
    "unheard": (another("FooForCausalLM"), {}, CompatibilityError, "LlamaForCausalLM, Mistral", ("distill",)),
    "scratch": (scratch, {}, CompatibilityError, "e2 is 'scratch'", ("distill", "route")),
    "no derivatives": (no_derivatives, {}, CompatibilityError, "of e2 does not allow", ("leave e2 out",)),
    "top_k": (two, {"top_k": 4}, UsageError, "top_k 4 is more than the 3 experts", ("--top-k 3",)),
    "top_k without the base": (two, {"top_k": 3, "public": False}, UsageError, "more than the 2", ("--top-k 2",)),
    "trained at one": (two, {"routing": "trained", "top_k": 1}, UsageError, "no gradient", ("--routing hidden",)),
    "no row": (
        one_anchored,
        {"routing": "anchored", "experts": {"e1": 1.0, "e2": 1.0}},
        CompatibilityError,
        "e2 ships no router row",
        ("anchored",),
    ),
    "search": (two, {"search": 5}, UsageError, "tunes no merge parameters", ("--search",)),
    "tune": (two, {"space": {"weight.e1": (0.0, 1.0)}}, UsageError, "tunes no merge parameters", ("--tune",)),
    "scales": (two, {"scale": (0.2, 0.4)}, UsageError, "tunes no merge parameters", ("scales",)),
    "weights": (two, {"experts": {"e1": 1.0, "e2": 0.5}}, UsageError, "e2 can't have a weight", ("leave it out",)),
    "embedder": (two, {"embedder": "file:///x/"}, UsageError, "for routing embedding", ("--routing embedding",)),
    "method": (two, {"method": "ties"}, UsageError, "nothing for a merge method to do", ("--strategy merge",)),
    "scale": (two, {"scale": 0.5}, UsageError, "nothing for a merge method to do", ("--scale",)),
    "mixture's wish of a merge": (
        two,
        {"strategy": "merge", "routing": "hidden"},
        UsageError,
        "routing is for strategy moe",
        ("--strategy moe",),
    ),
    "merge with top_k": (
        two,
        {"strategy": "merge", "routing": None, "top_k": 2},
        UsageError,
        "top_k is for strategy moe",
        ("leave",),
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_by_manifest_alone(zoo: Any, host: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message names the culprit, the hint what works; nothing is fetched or opened."""
    make, changes, kind, message, hints = REFUSED[name]
    machine = host(*make(zoo()))
    monkeypatch.setattr(inputs, "open_weights", lambda *_, **__: pytest.fail("something was opened"))
    monkeypatch.setattr(inputs, "load_tokenizer", lambda *_: pytest.fail("a tokenizer was loaded"))
    with pytest.raises(kind) as caught:
        make_plan(machine, FuseRecipe(**(MOE | changes)))
    assert message in caught.value.message
    for hint in hints:
        assert hint in str(caught.value.hint)


class TestByConfiguration:
    """What only the base's configuration tells; no weight is computed with, nothing written."""

    @pytest.mark.parametrize(
        ("family", "changes", "message"),
        [
            ("llama-tied", {"mlp_bias": True}, "mlp_bias, which MixtralForCausalLM does not have"),
            ("llama-tied", {"attention_bias": True}, "attention_bias, which MixtralForCausalLM does not have"),
            ("qwen2", {"use_sliding_window": True, "sliding_window": 4}, "sliding-window"),
            ("qwen3", {"use_sliding_window": True, "sliding_window": 4}, "sliding-window"),
        ],
    )
    def test_refused(self, zoo: Any, host: Any, family: str, changes: dict[str, Any], message: str) -> None:
        """Biases and windows that the mixture has not."""
        machine = host(zoo(family, **changes).ffn("e1"))
        with pytest.raises(CompatibilityError, match=message) as caught:
            make_plan(machine, FuseRecipe(**MOE))
        assert "distill" in str(caught.value.hint)
        assert "route" in str(caught.value.hint)

    @pytest.mark.parametrize("family", ["qwen3", "olmo2"])
    def test_biases_that_the_mixture_has(self, zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
        """Attention with biases is exact where the mixture's has them too."""
        from support.mixtures import assemble, close, loaded
        from support.tiny import logits

        from cogen.checkpoints.load import load_model
        from cogen.checkpoints.model import open_weights

        expert = zoo(family, attention_bias=True).anchored("e1")
        folder = assemble(host(expert), tmp_path / "out", public=False).folder
        close(logits(loaded(folder)), logits(load_model(open_weights(expert.spec.model), "float32")))

    def test_types(self) -> None:
        """Only those that were proved have a target; a manifest that lies about its architecture helps nobody."""
        assert sorted(TARGETS) == ["llama", "mistral", "olmo2", "qwen2", "qwen3"]
        with pytest.raises(CompatibilityError, match="no mixture architecture for model type gemma3") as caught:
            target_of({"model_type": "gemma3"})
        assert "distill" in str(caught.value.hint)

    def test_the_tokenizer_of_a_single_expert(self, zoo: Any, host: Any) -> None:
        """Compared with the base's; a union of vocabularies is not offered, since a mixture has none."""
        with pytest.raises(CompatibilityError, match="the tokenizer of e1 is not its base's") as caught:
            make_plan(host(zoo().ffn("e1", tokenizer_is=ZERO)), FuseRecipe(**MOE))
        assert "union" not in str(caught.value.hint)

    def test_a_block_of_another_kind(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """A base whose tensors lack a projection."""
        from cogen.fusion.moe.assemble import layers_of

        world = zoo()
        _, inputs = make_plan(host(world.ffn("e1")), FuseRecipe(**MOE))
        assert layers_of(inputs.base) == 2
        del inputs.base.tensors["model.layers.1.mlp.up_proj.weight"]
        with pytest.raises(CompatibilityError, match="not gate_proj, up_proj and down_proj in every layer") as caught:
            layers_of(inputs.base)
        assert "--strategy merge" in str(caught.value.hint)
        assert dense("llama").config.num_hidden_layers == 2
