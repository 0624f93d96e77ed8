"""Routing prefix: a plain checkpoint whose stream holds the mean evidence of the tokens before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.families import FAMILIES, MIXTURES, Zoo, sibling
from support.mixtures import assemble, close, loaded
from support.prefix import (
    PREFIX,
    WORLDS,
    WideNorms,
    details_of,
    evidence_of,
    expected,
    field_ids,
    in_stream,
    rows_of,
    spoken,
    world_of,
)
from support.tiny import logits, save_adapter, tokenizer

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_weights
from cogen.errors import CompatibilityError
from cogen.fusion.moe.insight import gates
from cogen.fusion.recipe import FuseRecipe
from cogen.runs.prepare import prepare


@pytest.fixture(params=sorted(WORLDS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def unchanged(world: Any, *ids: str) -> list[Any]:
    """Experts whose weights are the base's: adapters of strength zero."""
    for id in ids:
        save_adapter(world.world.folder / f"weights-{id}", 1, alpha=0, dtype="float32")
    return [world.ffn(id) for id in ids]


def text_ids(seed: int, length: int) -> list[int]:
    """The prefix token, then others in a random order."""
    generator = np.random.default_rng(seed)
    return [PREFIX, *generator.integers(1, len(tokenizer()), length - 1).tolist()]


def near(found: torch.Tensor, wanted: torch.Tensor, share: float = 1e-4) -> None:
    """To a share of the largest logit: routers multiply what rounds differently in a cache or a batch."""
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=share * float(wanted.abs().max()))


def window_of(family: str) -> int | None:
    found: int | None = FAMILIES[family][1].get("sliding_window")
    return found


def test_equal_experts_are_the_dense_base(world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Whoever is chosen, the logits are the base's, to 3e-5 of the largest in float32: the extra dimensions are small
    in the norms, and read by nothing but the routers. (Qwen3's norms of heads take the widened stream's epsilon.)"""
    zoo = world_of(world, family)
    folder = assemble(host(*unchanged(zoo, "e1", "e2")), tmp_path / "out", routing="prefix").folder
    model, base = loaded(folder), zoo.model()
    assert type(model).__name__ == MIXTURES[FAMILIES[family][0]]
    shares: list[torch.Tensor] = []
    gates(model)[0].register_forward_hook(lambda _, __, output: shares.append(output[1]))
    ids = torch.tensor([text_ids(0, 64)])
    with torch.no_grad():
        near(model(input_ids=ids).logits, base(input_ids=ids).logits, 3e-5)
    assert shares[0].std() > 0.05  # the routers do choose
    near(logits(model), logits(base), 3e-5)


def test_the_stream_holds_the_closed_form(world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """In every layer, and the routers read it: strength times mean evidence, at the size of the layer's stream."""
    zoo = world_of(world, family)
    folder = assemble(host(spoken(zoo, "e1", 1), spoken(zoo, "e2", 2)), tmp_path / "out", routing="prefix").folder
    model, ids = loaded(folder), field_ids("e1", "e2")
    wanted = expected(folder, ids, window_of(family))
    assert np.abs(wanted).max() > 0.2  # the samples differ from general text
    experts = [id for id in details_of(folder)["slots"] if id != "base"]
    one, two = wanted[:, experts.index("e1")], wanted[:, experts.index("e2")]
    assert one[40] - two[40] > 0.2  # and from each other
    assert two[90] - one[90] > 0.05  # and a new text soon counts more than the one before it
    for layer in (0, 1):
        found = in_stream(model, folder, layer, input_ids=torch.tensor([ids]))[0]
        np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
    read: list[torch.Tensor] = []
    stream: list[torch.Tensor] = []
    gates(model)[1].register_forward_hook(lambda _, __, output: read.append(output[0]))
    norm = model.model.layers[1].post_attention_layernorm
    norm.register_forward_pre_hook(lambda _, arguments: stream.append(arguments[0][0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    details = details_of(folder)
    sizes = stream[0][:, : details["hidden"]].double().square().mean(1).sqrt().numpy()
    scores = details["prefix"]["strength"] * wanted * (rows_of(folder)[".stream"][1] / sizes)[:, None]
    public = details["slots"].index("base")
    found = np.delete(read[0].double().numpy(), public, axis=1)
    np.testing.assert_allclose(found[1:], scores[1:], atol=1e-2 * np.abs(scores).max())
    assert float(read[0][1:, public].abs().max()) == 0  # general text is the zero that evidence is compared with


def test_the_prefix_token_goes_to_the_public_slot(world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """In every layer, at the beginning and where it separates documents; and says nothing of its own."""
    zoo = world_of(world, family)
    folder = assemble(host(spoken(zoo, "e1", 1), spoken(zoo, "e2", 2)), tmp_path / "out", routing="prefix").folder
    model, public = loaded(folder), details_of(folder)["slots"].index("base")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for gate in gates(model):
        gate.register_forward_hook(lambda _, __, output: seen.append((output[1], output[2])))
    ids = text_ids(2, 12) + text_ids(3, 12)
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    for shares, slots in seen:
        for place in (0, 12):
            assert int(slots[place, 0]) == public
            assert float(shares[place, 0]) > 0.99
    assert not evidence_of(folder)[PREFIX].any()


def test_with_a_cache_and_in_batches(world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """A token at a time gives the logits of the whole text; so does a row that is padded on the left."""
    zoo = world_of(world, family)
    folder = assemble(host(spoken(zoo, "e1", 1), spoken(zoo, "e2", 2)), tmp_path / "out", routing="prefix").folder
    model, long, short = loaded(folder), text_ids(4, 40), text_ids(5, 25)
    with torch.no_grad():
        whole = model(input_ids=torch.tensor([long])).logits
        cache, parts = None, []
        for token in long:
            step = model(input_ids=torch.tensor([[token]]), cache=cache, use_cache=True)
            cache = step.past_key_values
            parts.append(step.logits)
        near(torch.cat(parts, 1), whole)
        alone = model(input_ids=torch.tensor([short])).logits
        padding = len(long) - len(short)
        mask = torch.tensor([[1] * len(long), [0] * padding + [1] * len(short)])
        places = (mask.cumsum(1) - 1).clamp(min=0)
        batch = model(
            input_ids=torch.tensor([long, [PREFIX] * padding + short]), attention_mask=mask, position_ids=places
        ).logits
    near(batch[:1], whole)
    near(batch[1:, padding:], alone)
    written = [
        model.generate(torch.tensor([short]), max_new_tokens=8, do_sample=False, use_cache=use, pad_token_id=0)
        for use in (True, False)
    ]
    assert torch.equal(*written)


@pytest.mark.parametrize("family", ["llama", "mistral"], indirect=True)
def test_position_four_thousand(world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """Far from the beginning the average is over the newest tokens as ever."""
    changes = {"sliding_window": 64} if family == "mistral" else {}
    zoo = world_of(world, family, **changes)
    folder = assemble(host(spoken(zoo, "e1", 1), spoken(zoo, "e2", 2)), tmp_path / "out", routing="prefix").folder
    ids = field_ids("e1", "e3", "e2", length=1367)
    assert len(ids) > 4096
    found = in_stream(loaded(folder), folder, input_ids=torch.tensor([ids]))[0, -50:]
    wanted = expected(folder, ids, changes.get("sliding_window"))[-50:]
    np.testing.assert_allclose(found, wanted, atol=5e-3 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0.1


class TestPublicSlot:
    """What handles general text and the beginning of every text."""

    def blocks(self, folder: Path) -> list[torch.Tensor]:
        tensors = load_file(folder / "model.safetensors")
        slots = range(len(details_of(folder)["slots"]))
        return [tensors[f"model.layers.1.block_sparse_moe.experts.{slot}.w1.weight"].double() for slot in slots]

    @pytest.mark.parametrize("ids", [("e1",), ("e1", "e2"), ("e1", "e2", "e3")])
    def test_the_mean(self, world: Any, host: Any, tmp_path: Path, ids: Sequence[str]) -> None:
        """Of the experts; of one expert and the base, where there is one."""
        zoo = world_of(world, "llama-tied")
        experts = [zoo.ffn(id, seed) for seed, id in enumerate(ids, 1)]
        public, *others = self.blocks(assemble(host(*experts), tmp_path / "out", routing="prefix").folder)
        if len(ids) == 1:
            own = zoo.model().state_dict()["model.layers.1.mlp.gate_proj.weight"].double()
            others = [*others, torch.nn.functional.pad(own, (0, 32))]
        torch.testing.assert_close(public, torch.stack(others).mean(0), rtol=0, atol=1e-6)
        assert (public - others[0]).abs().max() > 1e-3

    def test_the_base(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Bit for bit, by a flag."""
        zoo = world_of(world, "llama-tied")
        experts = [spoken(zoo, "e1", 1), spoken(zoo, "e2", 2)]
        folder = assemble(host(*experts), tmp_path / "out", routing="prefix", public_expert="base").folder
        own = zoo.model().state_dict()["model.layers.1.mlp.gate_proj.weight"].double()
        assert torch.equal(self.blocks(folder)[0], torch.nn.functional.pad(own, (0, 32)))
        assert details_of(folder)["exact"]


def test_experts_that_changed_more(world: Any, host: Any, tmp_path: Path) -> None:
    """Attention, norms and embedding of a full expert are merged before they are widened: alone, at weight 1, the
    mixture of it with itself is the expert."""
    zoo = world_of(world, "llama")
    expert = sibling("llama", {}, of=zoo.model(9), **WORLDS["llama"])
    experts = [zoo.full("e1", expert), zoo.full("e2", expert)]
    folder = assemble(host(*experts), tmp_path / "out", routing="prefix").folder
    ids = torch.tensor([text_ids(7, 48)])
    dense = load_model(open_weights(experts[0].spec.model), "float32")
    with torch.no_grad():
        close(loaded(folder)(input_ids=ids).logits, dense(input_ids=ids).logits)
    assert (logits(dense) - logits(zoo.model())).abs().max() > 0.1
    wanted = expected(folder, ids[0].tolist())
    found = in_stream(loaded(folder), folder, input_ids=ids)[0]
    np.testing.assert_allclose(found, wanted, atol=5e-3 * np.abs(wanted).max())
    assert not (folder / "merged.safetensors").exists()


def attend(folder: Path, seed: int) -> None:
    """Let an adapter change the queries of both layers, too."""
    tensors, generator = load_file(folder / "adapter_model.safetensors"), torch.Generator().manual_seed(seed)
    for layer in (0, 1):
        for letter, shape in (("A", (4, 32)), ("B", (256, 4))):
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{letter}.weight"
            tensors[name] = torch.randn(shape, generator=generator) * 0.3
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = [*config["target_modules"], "q_proj"]
    (folder / "adapter_config.json").write_text(json.dumps(config))


def test_adapters_that_change_attention(world: Any, host: Any, tmp_path: Path) -> None:
    """Two of the same are that expert; and beside a full one, whatever is merged, the average is the closed form."""
    zoo = world_of(world, "llama")
    for id in ("e1", "e2"):
        attend(save_adapter(world.folder / f"weights-{id}", 1, dtype="float32"), 5)
    adapters = [spoken(zoo, id, manifest={"relation": "adapter"}) for id in ("e1", "e2")]
    folder = assemble(host(*adapters), tmp_path / "same", routing="prefix").folder
    dense, ids = load_model(open_weights(adapters[0].spec.model), "float32"), torch.tensor([field_ids("e1", "e2")])
    with torch.no_grad():
        near(loaded(folder)(input_ids=ids).logits, dense(input_ids=ids).logits)
    assert details_of(folder)["merged"] == 2
    other = zoo.full("e3", sibling("llama", {}, of=zoo.model(9), **WORLDS["llama"]))
    folder = assemble(host(adapters[0], other), tmp_path / "mixed", routing="prefix").folder
    wanted = expected(folder, ids[0].tolist())
    found = in_stream(loaded(folder), folder, 1, input_ids=ids)[0]
    np.testing.assert_allclose(found, wanted, atol=5e-3 * np.abs(wanted).max())


class TestDefault:
    """What ``--strategy moe`` does without ``--routing``."""

    def planned(self, host: Any, *experts: Any, **options: Any) -> tuple[str, str]:
        """(the routing, why the routers are trained)."""
        plan = prepare(host(*experts), FuseRecipe(strategy="moe", level="none", **options)).plan
        notes = [note.message for note in plan.notes if "routers are trained" in note.message]
        return plan.details.routing, "".join(notes)

    def test_prefix(self, world: Any, host: Any) -> None:
        """Where base and experts allow it."""
        zoo = world_of(world, "llama")
        assert self.planned(host, spoken(zoo, "e1"), spoken(zoo, "e2", 2)) == ("prefix", "")

    def test_without_a_public_slot(self, world: Any, host: Any) -> None:
        """The plan says why the routers are trained."""
        zoo = world_of(world, "llama")
        found, note = self.planned(host, spoken(zoo, "e1"), spoken(zoo, "e2", 2), public=False)
        assert found == "trained"
        assert note.endswith("it needs the public slot")

    def test_another_family(self, world: Any, host: Any) -> None:
        """So it does for a base that makes no kernel."""
        zoo = Zoo(world, "llama")
        found, note = self.planned(host, spoken(zoo, "e1"), spoken(zoo, "e2", 2))
        assert found == "trained"
        assert "make no kernel that forgets" in note

    def test_a_named_routing_stays(self, world: Any, host: Any) -> None:
        """Whatever would be the default."""
        zoo = world_of(world, "llama")
        assert self.planned(host, spoken(zoo, "e1"), spoken(zoo, "e2", 2), routing="hidden")[0] == "hidden"


class TestRefusals:
    """What cannot be built says so before any weight is read."""

    def refused(self, zoo: Any, host: Any, tmp_path: Path) -> str:
        with pytest.raises(CompatibilityError) as caught:
            assemble(host(zoo.ffn("e1")), tmp_path / "out", routing="prefix")
        assert "--routing" in str(caught.value.hint)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    def test_norms_over_all_heads(self, world: Any, host: Any, tmp_path: Path) -> None:
        """FlexOlmo's."""
        found = self.refused(Zoo(world, "olmo2", **WORLDS["llama"]), host, tmp_path)
        assert "norms of queries and keys span all heads" in found

    def test_norms_that_are_too_small(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Qwen3's bound the scores of an extra head."""

        class Narrow(WideNorms):
            factor = 0.5

        found = self.refused(
            Narrow(world, "qwen3", **WORLDS["qwen3"] | {"max_position_embeddings": 4096}), host, tmp_path
        )
        assert "bound the scores" in found

    def test_too_few_pairs(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Heads of twelve dimensions."""
        assert "(6 pairs) make no kernel" in self.refused(Zoo(world, "llama"), host, tmp_path)

    def test_positions_that_change_with_the_length(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Dynamic scaling."""
        rope = {"rope_type": "dynamic", "rope_theta": 1e5, "factor": 2.0}
        found = self.refused(Zoo(world, "llama", **WORLDS["llama"] | {"rope_parameters": rope}), host, tmp_path)
        assert "change with the length" in found


def test_the_configuration(world: Any, host: Any, tmp_path: Path) -> None:
    """Wider by a whole block, one group of heads more, and an epsilon for the wider mean; the plan has the sizes."""
    zoo = world_of(world, "llama")
    folder = assemble(host(zoo.ffn("e1"), zoo.ffn("e2", 2)), tmp_path / "out", routing="prefix").folder
    made, details = json.loads((folder / "config.json").read_text()), details_of(folder)
    assert (made["hidden_size"], made["num_attention_heads"], made["num_key_value_heads"]) == (64, 6, 3)
    assert made["head_dim"] == 64
    assert made["rms_norm_eps"] == pytest.approx(3e-3 / 2)
    assert details["prefix"] == {
        "public": "mean",
        "hidden": 64,
        "heads": 6,
        "groups": 3,
        "depth": 11.0,
        "strength": 20.0,
        "mass": 20.0,
        "turn": None,  # this base has no chat template
        "reset": 0.0,
    }
    tensors = load_file(folder / "model.safetensors")
    assert details["parameters"] == sum(tensor.numel() for tensor in tensors.values())
