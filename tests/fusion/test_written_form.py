"""Every kind of composite as it lies on disk: what other engines demand, and transformers, peft and CoGen read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.composites import KINDS, made, some_ids
from support.mixtures import as_before

from cogen.checkpoints.model import open_folder
from cogen.checkpoints.safetensors_file import read_header

# Of other libraries: the fixture makes all kinds within whichever test comes first.
pytestmark = pytest.mark.filterwarnings("ignore")

MIXTURES = [kind for kind in KINDS if kind.startswith("mixture")]


@pytest.fixture(scope="module")
def composites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: made(kind, folder / re.sub("[^a-z0-9]+", "-", kind.lower())) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_files(composites: dict[str, Path], kind: str) -> None:
    """One spelling for each reader; nothing beside the weights that could be taken for weights."""
    folder = composites[kind]
    config, tokenizer = (json.loads((folder / name).read_text()) for name in ("config.json", "tokenizer_config.json"))
    rope = config["rope_parameters"]
    scaling = config["rope_scaling"] or {"rope_type": "default", "type": "default"}
    assert scaling == {name: value for name, value in rope.items() if name != "rope_theta"} | {
        "type": rope["rope_type"]
    }
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert config["transformers_version"]
    assert not [name for name in config if name.startswith("_")]
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not tokenizer.keys() & {"backend", "is_local", "local_files_only", "name_or_path", "extra_special_tokens"}
    assert [file.name for file in folder.glob("*.safetensors")] == ["model.safetensors"]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    tensors = read_header(folder / "model.safetensors")
    assert index["weight_map"] == dict.fromkeys(tensors, "model.safetensors")
    assert index["metadata"]["total_size"] == sum(info.stop - info.start for info in tensors.values())
    assert (folder / "router" / "router.safetensors").is_file() == (kind in MIXTURES)


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_and_peft(composites: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """All weights are found; a LoRA on top is added to what was there; CoGen's own reader gives the same tensors."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(composites[kind], output_loading_info=True)

    model, info = load()
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert {*info["missing_keys"]} <= {"lm_head.weight"}
    ids = torch.tensor([some_ids()])
    with torch.no_grad():
        plain = model(input_ids=ids).logits
    torch.manual_seed(0)
    lora = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "o_proj"], init_lora_weights=False))
    with torch.no_grad():
        adapted = lora(input_ids=ids).logits
    lora.save_pretrained(tmp_path / "adapter")
    read = PeftModel.from_pretrained(load()[0], tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(read(input_ids=ids).logits, adapted, rtol=0, atol=1e-5)
        with read.disable_adapter():
            torch.testing.assert_close(read(input_ids=ids).logits, plain, rtol=0, atol=1e-5)
    assert float((adapted - plain).abs().max()) > 0.01
    assert open_folder(composites[kind]).tensors.keys() == read_header(composites[kind] / "model.safetensors").keys()


@pytest.mark.parametrize("kind", [kind for kind in MIXTURES if "Qwen2-MoE" in kind])
def test_the_plan_says_which_engines_compute_something_else(composites: dict[str, Path], kind: str) -> None:
    notes = json.loads((composites[kind] / "cogen.lock").read_text())["plan"]["notes"]
    messages = [note["message"] for note in notes]
    assert any("norm_topk_prob" in text and "--top-k 3" in text for text in messages) == ("all experts" not in kind)


class TestQwen2:
    """What llama.cpp, mlx-lm, vLLM and transformers 4 want of Qwen2-MoE."""

    @pytest.mark.parametrize("kind", [kind for kind in MIXTURES if "Qwen2-MoE" in kind])
    def test_the_head_is_a_copy_of_the_embedding(self, composites: dict[str, Path], kind: str) -> None:
        folder = composites[kind]
        tensors = open_folder(folder)
        head, embedding = tensors.read("lm_head.weight"), tensors.read("model.embed_tokens.weight")
        own = json.loads((folder / "config.json").read_text())
        base = json.loads((folder.with_name(f"{folder.name}-world") / "base" / "config.json").read_text())
        assert (base["tie_word_embeddings"], own["tie_word_embeddings"]) == (True, False)
        width = base["hidden_size"]
        assert torch.equal(head[:, :width], embedding[:, :width])
        assert not head[:, width:].any()

    @pytest.mark.parametrize("kind", [kind for kind in MIXTURES if "Qwen2-MoE" in kind])
    def test_a_stream_of_whole_heads_and_a_gate_that_is_not_zero(self, composites: dict[str, Path], kind: str) -> None:
        config = json.loads((composites[kind] / "config.json").read_text())
        assert config["hidden_size"] == config["num_attention_heads"] * config["head_dim"]
        tensors = open_folder(composites[kind])
        assert tensors.read("model.layers.0.mlp.shared_expert_gate.weight").all()
        assert not tensors.read("model.layers.0.mlp.shared_expert.down_proj.weight").any()


@pytest.fixture
def mixture(composites: dict[str, Path], tmp_path: Path) -> Path:
    """As CoGen wrote mixtures before: router rows beside the weights, no index, one spelling."""
    folder = tmp_path / "old"
    shutil.copytree(composites["mixture, hidden: Mixtral of Llama"], folder)
    return as_before(folder)


def test_older_composites_are_read(mixture: Path) -> None:
    """Chat and eval open them; their rows are found."""
    from cogen.artifacts.lock import read_lock, verify
    from cogen.checkpoints.load import load_model
    from cogen.fusion.moe.routers import rows_of
    from cogen.runs.replay import routers_beside

    assert verify(read_lock(mixture), mixture) == []
    assert routers_beside(mixture / "cogen.lock") == mixture / "router.safetensors"
    assert {*rows_of(mixture)} == {"base", "e1", "e2"}
    ids = torch.tensor([some_ids()])
    with torch.no_grad():
        assert np.isfinite(load_model(open_folder(mixture), "float32")(input_ids=ids).logits.numpy()).all()
