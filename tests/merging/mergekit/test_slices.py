"""Layers put together anew: tensors, configuration, and what transformers makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.kitchen import Kitchen
from support.tiny import llama, logits, save_model

from cogen.checkpoints.common_form import common_config
from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.merging.mergekit.config import output_config
from cogen.merging.mergekit.models import Model
from cogen.merging.mergekit.reference import ModelLocation, Reference


def stacked(models: list[Any], layers: list[tuple[int, int]]) -> Any:
    """The reference: a model of layers of other models, with the embeddings of the first and the head of the last."""
    result = llama(0, num_hidden_layers=len(layers), tie_word_embeddings=False)
    state = {name: value for name, value in models[layers[0][0]].state_dict().items() if "embed_tokens" in name}
    last = models[layers[-1][0]].state_dict()
    state |= {name: last[name] for name in ("model.norm.weight", "lm_head.weight")}
    for new, (model, old) in enumerate(layers):
        for name, value in models[model].state_dict().items():
            if name.startswith(f"model.layers.{old}."):
                state[name.replace(f"layers.{old}.", f"layers.{new}.")] = value
    result.load_state_dict(state)
    return result


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_transformers_loads_stacked_layers(kitchen: Kitchen) -> None:
    """The same logits, bit for bit, as a model whose layers were put together in Python; every tensor is a copy."""
    for seed, name in enumerate("ab"):
        save_model(kitchen.folder / name, seed, num_hidden_layers=3, tie_word_embeddings=False)
    done = kitchen.merge(
        """
        merge_method: passthrough
        slices:
          - sources: [{model: a, layer_range: [0, 2]}]
          - sources: [{model: b, layer_range: [1, 3]}]
          - sources: [{model: a, layer_range: [1, 3]}]
          - sources: [{model: b, layer_range: [2, 3]}]
        """
    )
    assert done.copied == done.tensors == 7 * 9 + 3
    model = load(kitchen.folder / "out")
    assert model.config.num_hidden_layers == 7
    layers = [(0, 0), (0, 1), (1, 1), (1, 2), (0, 1), (0, 2), (1, 2)]
    expected = stacked([llama(seed, num_hidden_layers=3, tie_word_embeddings=False) for seed in (0, 1)], layers)
    assert torch.equal(logits(model), logits(expected))


def test_all_layers_of_one_model_are_that_model(kitchen: Kitchen) -> None:
    """Cut in two and put together again: the same bytes in every tensor, the same configuration."""
    before = kitchen.model("a", 3, layers=4, dtype="bfloat16")
    after = kitchen.merged(
        "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
        "- sources: [{model: a, layer_range: [1, 4]}]\n"
    )
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name].view(torch.int16), before[name].view(torch.int16)) for name in before)
    assert kitchen.json("config.json") == common_config(kitchen.json("config.json", "a"))


def test_merged_slices(kitchen: Kitchen) -> None:
    """Two models layer by layer, and one behind it: weighted sums by hand."""
    a, b = kitchen.model("a", 1, layers=3), kitchen.model("b", 2, layers=4)
    found = kitchen.merged(
        """
        merge_method: linear
        slices:
          - sources:
              - {model: a, layer_range: [0, 3], parameters: {weight: 0.25}}
              - {model: b, layer_range: [1, 4], parameters: {weight: 0.75}}
          - sources: [{model: b, layer_range: [0, 1], parameters: {weight: 1}}]
        """
    )
    for layer in range(3):
        for rest in ("self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"):
            one, other = a[f"model.layers.{layer}.{rest}"].double(), b[f"model.layers.{layer + 1}.{rest}"].double()
            assert torch.equal(found[f"model.layers.{layer}.{rest}"], (0.25 * one + 0.75 * other).float())
    for rest in ("self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"):
        assert torch.equal(found[f"model.layers.3.{rest}"], b[f"model.layers.0.{rest}"])
    name = "model.embed_tokens.weight"
    assert torch.equal(found[name], (0.25 * a[name].double() + 0.75 * b[name].double()).float())
    assert torch.equal(found["model.norm.weight"], b["model.norm.weight"])
    assert kitchen.json("config.json")["num_hidden_layers"] == 4


class TestConfig:
    """What a configuration says of single layers goes with the layers."""

    def model(self, kitchen: Kitchen, name: str, layers: int, **config: Any) -> Model:
        kitchen.model(name, layers=layers, **config)
        from cogen.checkpoints.model import open_folder

        opened = open_folder(kitchen.folder / name)
        return Model(Reference(ModelLocation(name)), Checkpoint(opened.folder, opened.tensors))

    def test_lists_follow_their_layers(self, kitchen: Kitchen) -> None:
        """One value a layer, layers by number, one letter a layer; other lists stay."""
        a = self.model(
            kitchen,
            "a",
            4,
            layer_types=["full", "sliding", "full", "sliding"],
            mlp_only_layers=[1, 3],
            hybrid_override_pattern="M-M*",
            eos_token_id=[1, 2, 3, 4],
            intermediate_size=[1, 2, 3, 4],
        )
        b = self.model(
            kitchen,
            "b",
            2,
            layer_types=["sliding", "full"],
            mlp_only_layers=[0],
            hybrid_override_pattern="*M",
            intermediate_size=[5, 6],
        )
        origins = [[(0, 0)], [(0, 1), (1, 0)], [(1, 1)], [(0, 3)], [(1, 0)], [(0, 2)]]
        with pytest.raises(CompatibilityError, match="layer 1 of a and layer 0 of b differ in intermediate_size"):
            output_config([a, b], 0, origins=origins)
        origins[1] = [(0, 1)]
        found = output_config([a, b], 0, origins=origins)
        assert found["num_hidden_layers"] == 6
        assert found["layer_types"] == ["full", "sliding", "full", "sliding", "sliding", "full"]
        assert found["mlp_only_layers"] == [1, 3, 4]
        assert found["hybrid_override_pattern"] == "M-M**M"
        assert found["intermediate_size"] == [1, 2, 6, 4, 5, 3]
        assert found["eos_token_id"] == [1, 2, 3, 4]

    def test_text_models_inside_others(self, kitchen: Kitchen) -> None:
        """The layers are counted where the text model's configuration stands."""
        text = {"num_hidden_layers": 2, "layer_types": ["full", "sliding"], "dtype": "float32"}
        a = self.model(kitchen, "a", 2, num_hidden_layers=None, text_config=text)
        found = output_config([a], 0, origins=[[(0, 1)], [(0, 0)], [(0, 1)]], dtype="bfloat16")
        assert found["text_config"] == {
            "num_hidden_layers": 3,
            "layer_types": ["sliding", "full", "sliding"],
            "dtype": "bfloat16",
        }
        assert found["dtype"] == "bfloat16"

    @pytest.mark.parametrize(
        ("config", "layers", "refused"),
        [
            ({"sliding_window_pattern": 2}, [1, 0], True),
            ({"sliding_window_pattern": 2}, [2, 1], False),
            ({"sliding_window_pattern": 2, "layer_types": ["full"] * 4}, [1, 0], False),
            ({"first_k_dense_replace": 1}, [0, 2], False),
            ({"first_k_dense_replace": 1}, [1, 2], True),
            ({"max_window_layers": 2}, [3, 3], False),
            ({"max_window_layers": 2, "use_sliding_window": True}, [3, 3], True),
            ({"decoder_sparse_step": 1}, [3, 2], False),
            ({"num_kv_shared_layers": 2}, [0, 1], True),
            ({"num_kv_shared_layers": 0}, [0, 1], False),
            ({"scale_attn_by_inverse_layer_idx": True}, [0, 1, 2, 3], False),
            ({"scale_attn_by_inverse_layer_idx": True}, [0, 1, 3, 2], True),
            ({"odd_layer_things": ["x", "y"]}, [0], True),
        ],
    )
    def test_layers_whose_kind_hangs_on_their_number(
        self, kitchen: Kitchen, config: dict[str, Any], layers: list[int], refused: bool
    ) -> None:
        """Moved to a number where they would be of another kind, they are refused with the key that says it."""
        a = self.model(kitchen, "a", 4, **config)
        origins = [[(0, layer)] for layer in layers]
        if refused:
            with pytest.raises(CompatibilityError, match=next(iter(config))):
                output_config([a], 0, origins=origins)
        else:
            assert output_config([a], 0, origins=origins)["num_hidden_layers"] == len(layers)
