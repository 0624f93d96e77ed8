"""A mixture computes what its experts compute: tiny random models of every family, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.families import FAMILIES, MIXTURES
from support.mixtures import assemble, carry_out, close, loaded, set_routers
from support.tiny import logits

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder, open_weights
from cogen.fusion.moe.insight import gates, without
from cogen.fusion.moe.targets import TARGETS, ffn_tensor, mixture_config, target_of
from cogen.fusion.recipe import FuseRecipe


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_families_are_all_that_is_promised() -> None:
    """Every dense architecture that has a target is proved here."""
    assert {FAMILIES[name][0].lower() for name in FAMILIES} == set(TARGETS)


def test_one_slot_is_the_expert(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Its logits; and its tensors are bit for bit those that a merge of it alone at weight 1 writes."""
    expert = zoo(family).anchored("e1")
    one = assemble(host(expert), tmp_path / "one", public=False, top_k=1).folder
    merged = carry_out(host(expert), FuseRecipe(level="none", strategy="merge"), tmp_path / "merged").folder
    dense = load_model(open_weights(expert.spec.model), "float32")
    model = loaded(one)
    assert type(model).__name__ == MIXTURES[FAMILIES[family][0]]
    close(logits(model), logits(dense))
    mine, theirs = load_file(one / "model.safetensors"), load_file(merged / "model.safetensors")
    target = target_of({"model_type": json.loads((merged / "config.json").read_text())["model_type"]})
    for name, tensor in theirs.items():
        place = ffn_tensor(name)
        own = mine.pop(target.tensor(place[0], 0, place[1]) if place else name)
        assert torch.equal(own.view(torch.int32), tensor.view(torch.int32)), name
    added = {target.gate(layer) for layer in (0, 1)} | {
        name.format(layer=layer) for name in target.shared for layer in (0, 1)
    }
    if target.demanding and dense.config.tie_word_embeddings:
        assert torch.equal(mine.pop("lm_head.weight"), theirs["model.embed_tokens.weight"])
    assert mine.keys() == added


def test_identical_experts_are_the_dense_model(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Three of them under random routers: whoever is chosen, and with whatever shares."""
    world = zoo(family)
    experts = [world.anchored(f"e{i}") for i in (1, 2, 3)]
    folder = assemble(host(*experts), tmp_path / "out", public=False, top_k=2).folder
    model, dense = loaded(folder), load_model(open_weights(experts[0].spec.model), "float32")
    set_routers(model)
    shares: list[torch.Tensor] = []
    gates(model)[0].register_forward_hook(lambda _, __, output: shares.append(output[1]))
    close(logits(model), logits(dense))
    assert shares[0].std() > 0.05  # the routers do choose


def test_masked_is_built_without(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """``without(model, slot)`` computes what the mixture does that was built without this expert; the base is one."""
    world = zoo(family)
    one, two = (world.anchored(f"e{i}", i) for i in (1, 2))
    outcome = assemble(host(one, two), tmp_path / "all")
    model, slots = loaded(outcome.folder), outcome.lock.plan.details.slots
    before = logits(model)
    with without(model, slots.index("e2")):
        masked = logits(model)
    left = loaded(assemble(host(one), tmp_path / "without-e2").folder)
    close(masked, logits(left))
    assert (masked - before).abs().max() > 1e-3 * before.abs().max()
    assert torch.equal(logits(model), before)  # nothing of the mask stays
    with without(left, 1):
        close(logits(left), logits(world.model()))


def test_configuration_and_ties(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """What both classes know is the base's; one embedding in file and memory, or two; transformers writes it back."""
    folder = assemble(host(zoo(family).anchored("e1")), tmp_path / "out").folder
    model, tied = loaded(folder), FAMILIES[family][1]["tie_word_embeddings"]
    base, made = loaded(tmp_path / "base").config.to_dict(), model.config.to_dict()
    own = {"architectures", "model_type", "transformers_version", "_name_or_path", "sliding_window"}
    same = base.keys() & made.keys() - own
    if family == "qwen2":  # which some engines know with two embeddings alone
        assert (base["tie_word_embeddings"], made["tie_word_embeddings"]) == (True, False)
        tied = base["tie_word_embeddings"] = False
    made["rope_parameters"].pop("type", None)  # the old name of the kind, beside the new one
    assert {name: made[name] for name in same} == {name: base[name] for name in same}
    assert (made.get("sliding_window") or None) == (base.get("sliding_window") or None)  # 0 is Qwen2-MoE's None
    names = {
        "rms_norm_eps",
        "rope_parameters",
        "max_position_embeddings",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "tie_word_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "vocab_size",
        "hidden_act",
        "attention_dropout",
        "dtype",
    }
    assert names <= same
    assert (made["num_experts_per_tok"], made["architectures"]) == (2, [MIXTURES[FAMILIES[family][0]]])
    assert ("lm_head.weight" in open_folder(folder).tensors) is not tied
    model.save_pretrained(tmp_path / "again")
    again = loaded(tmp_path / "again")
    assert torch.equal(logits(again), logits(model))
    for one in (model, again):
        assert (one.lm_head.weight is one.model.embed_tokens.weight) is tied


@pytest.mark.parametrize("family", ["qwen2", "olmo2"], indirect=True)
def test_a_width_of_heads_that_is_no_quotient(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Classes that have no field for it read it all the same, dense or not: it must not be lost."""
    world = zoo(family, head_dim=12)
    expert = world.anchored("e1")
    folder = assemble(host(expert), tmp_path / "out", public=False, top_k=1).folder
    close(logits(loaded(folder)), logits(load_model(open_weights(expert.spec.model), "float32")))


@pytest.mark.parametrize("family", ["mistral"], indirect=True)
def test_beyond_the_sliding_window(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """The row of tokens is four windows long: a mixture that attended further would give other logits."""
    assert FAMILIES[family][1]["sliding_window"] * 4 == 24
    expert = zoo(family).anchored("e1")
    folder = assemble(host(expert), tmp_path / "out", public=False, top_k=1).folder
    model = loaded(folder)
    seen = logits(model)
    model.config.sliding_window = None
    assert (logits(model) - seen).abs().max() > 1e-2
    close(seen, logits(load_model(open_weights(expert.spec.model), "float32")))


@pytest.mark.parametrize("family", ["llama", "qwen3"], indirect=True)
def test_other_attention_is_found_out(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """These tests would see a lost field: each one changes the logits by more than the tolerance."""
    model = loaded(assemble(host(zoo(family).anchored("e1")), tmp_path / "out").folder)
    seen = logits(model)
    for field, value in {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}.items():
        config = type(model.config).from_dict(model.config.to_dict() | {field: value})
        other = type(model)(config).eval()
        other.load_state_dict(model.state_dict())
        assert (logits(other) - seen).abs().max() > 1e-3 * seen.abs().max(), field


def test_what_the_mixture_would_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch, zoo: Any) -> None:
    """A class whose field means something else stops the plan, by the field's name."""
    import transformers

    from cogen.errors import CompatibilityError

    config = zoo("llama").model().config.to_dict()
    real = transformers.MixtralConfig

    class Other(real):  # type: ignore[misc, valid-type]
        def to_dict(self) -> dict[str, Any]:
            return super().to_dict() | {"rms_norm_eps": 1e-5}

    monkeypatch.setattr(transformers, "CONFIG_MAPPING", {"mixtral": Other})
    with pytest.raises(CompatibilityError, match=r"reads rms_norm_eps as 1e-05 where the base has 0\.003") as caught:
        mixture_config(config, TARGETS["llama"], 2, 2, 64)
    assert "distill" in str(caught.value.hint)
