"""Full fine-tunes in a mixture: other norms are folded, other widths padded, all else is averaged or merged."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.families import HIDDEN, LAYERS, dense, sibling
from support.mixtures import assemble, carry_out, close, loaded
from support.tiny import logits

from cogen.checkpoints import model as checkpoints
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.safetensors_file import read_tensor
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.moe.insight import only
from cogen.fusion.moe.targets import ffn_tensor
from cogen.fusion.recipe import FuseRecipe
from cogen.merging import engine as stream

PRE_NORM = ["llama", "mistral", "qwen2", "qwen3"]
NORM = "model.layers.{}.post_attention_layernorm.weight"
HIDDEN_ROUTING = {"routing": "hidden"}


def gains(seed: int) -> dict[str, torch.Tensor]:
    """Other gains in front of the feed-forward blocks."""
    generator = torch.Generator().manual_seed(seed)
    return {NORM.format(layer): 0.5 + torch.rand(HIDDEN, generator=generator) for layer in range(LAYERS)}


def blocks(family: str, seed: int, **changes: Any) -> dict[str, torch.Tensor]:
    """The feed-forward blocks of another model."""
    return {n: t for n, t in dense(family, seed, **changes).state_dict().items() if ffn_tensor(n)}


def shared(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor that is not a feed-forward block, no router and no norm that is folded."""
    found = load_file(folder / "model.safetensors")
    return {n: t for n, t in found.items() if not any(p in n for p in (".mlp.", ".block_sparse", "post_attention"))}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(one[n].view(torch.uint8), two[n].view(torch.uint8)) for n in one
    )


@pytest.mark.parametrize("family", [*PRE_NORM, "olmo2"])
def test_one_slot_is_the_expert(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """A fine-tune in which every tensor moved, alone in a mixture."""
    other = dense(family, 9)
    outcome = assemble(host(zoo(family).full("e1", other)), tmp_path / "out", public=False, top_k=1, **HIDDEN_ROUTING)
    close(logits(loaded(outcome.folder)), logits(other))


@pytest.mark.parametrize("family", PRE_NORM)
def test_norms_are_folded(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Each slot gives its own model's logits, though their gains differ and the mixture has the base's alone."""
    world = zoo(family)
    models = {f"e{i}": sibling(family, gains(i) | blocks(family, i)) for i in (1, 2)}
    experts = [world.full(id, model) for id, model in models.items()]
    outcome = assemble(host(*experts), tmp_path / "out", **HIDDEN_ROUTING)
    model = loaded(outcome.folder)
    for slot, id in enumerate(outcome.lock.plan.details.slots):
        with only(model, slot):
            close(logits(model), logits(models[id] if id in models else world.model()))
    base = world.model().state_dict()
    assert all(torch.equal(model.state_dict()[name], base[name]) for name in gains(1))


def test_a_gain_of_zero_is_folded_where_it_can_be(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Zero in the expert: nothing passes. Zero in the base alone: no factor makes something of nothing."""
    world = zoo("llama")
    silent = gains(1)
    silent[NORM.format(1)][3] = 0.0
    other = sibling("llama", silent)
    close(
        logits(
            loaded(
                assemble(
                    host(world.full("e1", other)), tmp_path / "out", public=False, top_k=1, **HIDDEN_ROUTING
                ).folder
            )
        ),
        logits(other),
    )
    base = world.model()
    base.model.layers[0].post_attention_layernorm.weight.data[5] = 0.0
    world.world.folder = tmp_path / "second"
    base.save_pretrained(tmp_path / "second" / "base")
    second = zoo("llama")
    for file in (tmp_path / "base").glob("tokenizer*"):
        (tmp_path / "second" / "base" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CompatibilityError, match="is zero in the base and not in the expert") as caught:
        assemble(host(second.full("e2", world.model())), tmp_path / "no", **HIDDEN_ROUTING)
    assert "--strategy merge" in str(caught.value.hint)
    assert not (tmp_path / "no").exists()


def test_the_norm_behind_the_block_is_merged(zoo: Any, host: Any, tmp_path: Path) -> None:
    """OLMo-2's cannot be folded into what stands before it: both of its norms are the average."""
    world = zoo("olmo2")
    folder = assemble(
        host(*(world.full(f"e{i}", dense("olmo2", i)) for i in (1, 2))), tmp_path / "out", **HIDDEN_ROUTING
    ).folder
    found = load_file(folder / "model.safetensors")
    one, two = (dense("olmo2", i).state_dict() for i in (1, 2))
    for name in ("post_feedforward_layernorm", "post_attention_layernorm"):
        name = f"model.layers.1.{name}.weight"
        torch.testing.assert_close(found[name], (one[name] + two[name]) / 2)


@pytest.mark.parametrize("family", ["llama-tied", "qwen2", "olmo2"])
def test_other_widths_are_padded(zoo: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Narrower and wider experts than the base: each slot computes what its model does; padding is zero."""
    world = zoo(family)
    models = {
        f"e{width}": sibling(family, blocks(family, width, intermediate_size=width), intermediate_size=width)
        for width in (24, 90)
    }
    experts = [world.full(id, model) for id, model in models.items()]
    outcome = assemble(host(*experts), tmp_path / "out", **HIDDEN_ROUTING)
    assert outcome.lock.plan.details.width == 96  # rows of whole 16 bytes, as torch wants them
    model = loaded(outcome.folder)
    for slot, id in enumerate(outcome.lock.plan.details.slots):
        with only(model, slot):
            close(logits(model), logits(models[id] if id in models else world.model()))
    narrow = outcome.lock.plan.details.slots.index("e24")
    assert float(model.model.layers[0].mlp.experts.down_proj[narrow, :, 24:].detach().abs().max()) == 0


MERGES: list[tuple[str | None, dict[str, Any], float | None]] = [
    (None, {}, None),
    ("task_arithmetic", {}, None),
    ("task_arithmetic", {}, 0.3),
    ("ties", {"density": 0.4}, 0.7),
    ("slerp", {"t": 0.3}, None),
]


@pytest.mark.parametrize(("method", "parameters", "scale"), MERGES)
def test_all_else_is_merged(
    zoo: Any, host: Any, tmp_path: Path, method: str | None, parameters: dict[str, Any], scale: float | None
) -> None:
    """Bit for bit what a merge by this method writes: the plain average, unless another one is asked for."""
    world = zoo("qwen2", dtype="bfloat16")
    machine = host(*(world.full(f"e{i}", dense("qwen2", i, "bfloat16")) for i in (1, 2)))
    output: dict[str, Any] = {} if method is None else {"method": method}
    output |= {"parameters": parameters} | ({} if scale is None else {"scale": scale})
    outcome = assemble(machine, tmp_path / "out", **output, **HIDDEN_ROUTING)
    # One that adds differences up goes half as far from the base for each of two, so that it ends near the average.
    recipes = {"method": "linear", "scale": 0.5 if method == "task_arithmetic" else 1.0} | output
    merged = carry_out(machine, FuseRecipe(strategy="merge", level="none", **recipes), tmp_path / "merged").folder
    plan = outcome.lock.plan
    assert plan.method == (method or "linear")
    tensors = shared(outcome.folder)
    assert torch.equal(tensors.pop("lm_head.weight"), tensors["model.embed_tokens.weight"])
    assert same(tensors, shared(merged))
    assert plan.details.merged == len([n for n in shared(merged) if "lm_head" not in n])


def test_weights_are_for_what_is_shared(zoo: Any, host: Any, tmp_path: Path) -> None:
    """The average is weighted; the experts are as they would be without weights."""
    world = zoo("llama", dtype="bfloat16")
    machine = host(*(world.full(f"e{i}", dense("llama", i, "bfloat16")) for i in (1, 2)))
    weights = {"e1": 3.0, "e2": 1.0}
    outcome = assemble(machine, tmp_path / "out", experts=weights, **HIDDEN_ROUTING)
    recipe = FuseRecipe(strategy="merge", level="none", method="linear", scale=1.0, experts=weights)
    assert same(shared(outcome.folder), shared(carry_out(machine, recipe, tmp_path / "merged").folder))
    plain = assemble(machine, tmp_path / "plain", **HIDDEN_ROUTING).folder
    assert not same(shared(outcome.folder), shared(plain))
    one, two = (load_file(folder / "model.safetensors") for folder in (outcome.folder, plain))
    inner = {name for name in one if ".experts." in name}
    assert inner
    assert all(torch.equal(one[name], two[name]) for name in inner)


def test_a_frozen_one_beside_a_full_one(zoo: Any, host: Any, tmp_path: Path) -> None:
    """The frozen one brings the base's attention into the average; the mixture says that it is not exact."""
    world = zoo("llama")
    outcome = assemble(host(world.ffn("e1"), world.full("e2", dense("llama", 2))), tmp_path / "out", **HIDDEN_ROUTING)
    name = "model.layers.0.self_attn.q_proj.weight"
    found = load_file(outcome.folder / "model.safetensors")[name]
    torch.testing.assert_close(found, (world.model().state_dict()[name] + dense("llama", 2).state_dict()[name]) / 2)
    assert not outcome.lock.plan.details.exact


def test_frozen_ones_take_no_weights(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Where experts share all but feed-forward blocks, a weight would be ignored: it is refused."""
    world = zoo()
    machine = host(world.ffn("e1", 1), world.ffn("e2", 2))
    with pytest.raises(UsageError, match="e2 can't have a weight") as caught:
        assemble(machine, tmp_path / "out", experts={"e1": 1.0, "e2": 2.0}, **HIDDEN_ROUTING)
    assert caught.value.hint


def test_other_shapes_are_refused(zoo: Any, host: Any, tmp_path: Path) -> None:
    """A mixture shares all but the feed-forward blocks' widths: a head that is another's is named."""
    world = zoo("llama-tied")
    other = sibling("llama-tied", {}, of=dense("llama-tied", 3))
    untied = dense("llama-tied", 3, tie_word_embeddings=False)
    for id, model, text in (
        ("e1", untied, r"e1 and its base differ at .*lm_head\.weight"),
        ("e2", dense("llama-tied", 3, head_dim=4), "e2 and .* compute differently .*head_dim is 4 and "),
        ("e3", dense("llama-tied", 3, vocab_size=304), r"e3 and its base differ at .*embed_tokens\.weight"),
    ):
        with pytest.raises(CompatibilityError, match=text) as caught:
            assemble(host(world.full(id, model)), tmp_path / "out", **HIDDEN_ROUTING)
        assert "--strategy route" in str(caught.value.hint)
    assert torch.equal(other.lm_head.weight, other.model.embed_tokens.weight)


def test_assembly_streams(zoo: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices are read in blocks through open files; as whole tensors only gains of norms and factors are."""
    world = zoo("llama", dtype="bfloat16")
    full = {f"e{i}": sibling("llama", gains(i) | blocks("llama", i), dtype="bfloat16") for i in (1, 2)}
    machine = host(*(world.full(id, model) for id, model in full.items()), world.ffn("e3"))
    wanted = assemble(machine, tmp_path / "wanted", **HIDDEN_ROUTING).folder
    whole: list[str] = []
    largest: list[int] = []
    read, part = read_tensor, OpenFiles.read

    def watch(info: Any) -> Any:
        whole.append(info.name)
        return read(info)

    def watch_part(self: Any, info: Any, start: int, stop: int, into: Any = None) -> Any:
        largest.append(stop - start)
        return part(self, info, start, stop, into)

    monkeypatch.setattr(checkpoints, "read_tensor", watch)
    monkeypatch.setattr(OpenFiles, "read", watch_part)
    monkeypatch.setattr(stream, "Stack", functools.partial(stream.Stack, block=512))
    found = assemble(machine, tmp_path / "found", **HIDDEN_ROUTING).folder
    assert {name for name in whole if "layernorm" not in name} == set()
    assert max(largest) <= 512
    assert same(load_file(found / "model.safetensors"), load_file(wanted / "model.safetensors"))
