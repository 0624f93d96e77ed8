"""Vocabulary tensors are found by their shape; by name only where the shape leaves a doubt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.errors import CompatibilityError
from cogen.merging.vocabulary.tensors import layout, sizes

SMALL = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}


def headers(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    """A checkpoint of zeros."""
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", {name: torch.zeros(shape) for name, shape in shapes.items()})
    return open_folder(folder)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "architecture", ["Llama", "Qwen2", "Qwen3", "Gemma2", "GPTNeoX", "Olmo2", "Phi", "GPT2", "Falcon"]
)
@pytest.mark.parametrize("twin", ["none", "hidden_size", "intermediate_size", "max_position_embeddings"])
def test_as_transformers_knows_them(architecture: str, tied: bool, twin: str, tmp_path: Path) -> None:
    """The input embedding, the output head and its bias, whichever other extent has the vocabulary's size."""
    import transformers

    options: dict[str, Any] = SMALL | {"tie_word_embeddings": tied} | ({twin: 96} if twin != "none" else {})
    if architecture == "GPT2" and twin == "intermediate_size":
        options["n_inner"] = 96
    if architecture in ("Qwen3", "Gemma2"):
        options["head_dim"] = 8
    config = getattr(transformers, f"{architecture}Config")(**options)
    model = transformers.AutoModelForCausalLM.from_config(config)
    heads = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        torch.nn.init.normal_(bias)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")  # whose names may differ from the model's

    def named(*wanted: Any) -> set[str]:
        return {
            name for name, tensor in stored.items() if any(w is not None and torch.equal(tensor, w) for w in wanted)
        }

    found = layout(open_folder(tmp_path))
    assert found.rows == 96
    assert set(found.matrices) == named(*heads)
    assert len(found.matrices) == (1 if tied else 2)
    assert set(found.biases) == named(bias)
    assert len(found.biases) == (bias is not None)


def test_an_unusual_name_is_found_by_shape(tmp_path: Path) -> None:
    """No name of an embedding is needed where no other extent is the vocabulary's."""
    found = layout(headers(tmp_path, {"vocab_size": 50}, {"a.weight": (50, 4), "b.weight": (50, 4), "c": (4, 4)}))
    assert found.matrices == ("a.weight", "b.weight")


def test_a_padded_embedding_counts(tmp_path: Path) -> None:
    """The rows are the embedding's where the configuration says less."""
    shapes = {"model.embed_tokens.weight": (64, 4), "lm_head.weight": (64, 4), "model.layers.0.mlp.weight": (50, 4)}
    found = layout(headers(tmp_path, {"vocab_size": 50}, shapes))
    assert (found.rows, found.matrices) == (64, ("lm_head.weight", "model.embed_tokens.weight"))


def test_a_doubtful_model_is_refused(tmp_path: Path) -> None:
    """Two matrices have the vocabulary's size, so has the hidden size, and no name tells."""
    config = {"vocab_size": 8, "hidden_size": 8}
    with pytest.raises(CompatibilityError, match="cannot be told from its other tensors"):
        layout(headers(tmp_path, config, {"a.weight": (8, 8), "b.weight": (8, 8)}))


def test_a_doubtful_head_is_refused(tmp_path: Path) -> None:
    """An embedding that is known, beside a matrix that may be its head; a tied model has its head already."""
    shapes = {"embed_tokens.weight": (8, 8), "b.weight": (8, 8)}
    with pytest.raises(CompatibilityError, match=r"b\.weight may be an output head"):
        layout(headers(tmp_path, {"vocab_size": 8, "hidden_size": 8}, shapes))
    tied = headers(tmp_path, {"vocab_size": 8, "hidden_size": 8, "tie_word_embeddings": True}, shapes)
    assert layout(tied).matrices == ("embed_tokens.weight",)


def test_no_vocabulary_is_refused(tmp_path: Path) -> None:
    """A model of something else than tokens."""
    with pytest.raises(CompatibilityError, match="no tensor has a row for every token"):
        layout(headers(tmp_path, {}, {"a.weight": (8, 8)}))


def test_the_text_model_of_a_nested_configuration_comes_first() -> None:
    """Several parts of a model may have vocabularies."""
    config = {"audio_config": {"vocab_size": 3}, "text_config": {"vocab_size": 5, "x": {"vocab_size": 7}}}
    assert list(sizes(config)) == [(("text_config",), 5), (("text_config", "x"), 7), (("audio_config",), 3)]
