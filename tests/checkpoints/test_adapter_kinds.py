"""Adapters as people have them: every kind is what peft merges, or is refused by name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import llama, save_model, tokenizer

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.errors import CogenError, CompatibilityError, SourceError
from cogen.merging.lora.concat import concatenate
from cogen.merging.lora.merge import write_merged

MLP = ["gate_proj", "up_proj", "down_proj"]
BIASED = {"attention_bias": True, "mlp_bias": True}
UNTIED = {"tie_word_embeddings": False}
#: Kind → (changes of the tiny Llama, options of peft's LoraConfig).
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DoRA": ({}, {"use_dora": True, "target_modules": MLP}),
    "DoRA, rank-stabilised, all linear": ({}, {"use_dora": True, "use_rslora": True, "target_modules": "all-linear"}),
    "DoRA with patterns": (
        {},
        {"use_dora": True, "target_modules": MLP, "rank_pattern": {"up_proj": 2}, "alpha_pattern": {"gate_proj": 3}},
    ),
    "DoRA with trained biases": (BIASED, {"use_dora": True, "bias": "all", "target_modules": ["q_proj", "up_proj"]}),
    "all biases": (BIASED, {"bias": "all", "target_modules": ["q_proj", "down_proj"]}),
    "biases of its layers": (BIASED, {"bias": "lora_only", "target_modules": ["q_proj", "down_proj"]}),
    "lora_bias": (BIASED, {"lora_bias": True, "target_modules": ["v_proj", "up_proj"]}),
    "the head saved": (UNTIED, {"modules_to_save": ["lm_head"], "target_modules": MLP}),
    "embedding and head saved": (UNTIED, {"modules_to_save": ["lm_head", "embed_tokens"], "target_modules": MLP}),
    "a norm saved": ({}, {"modules_to_save": ["input_layernorm"], "target_modules": MLP}),
    "a tied embedding saved": (
        {},
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True, "target_modules": MLP},
    ),
    "on the head": (UNTIED, {"target_modules": ["lm_head", "up_proj"]}),
    "on the embedding": (UNTIED, {"target_modules": ["embed_tokens", "up_proj"]}),
    "on both": (UNTIED, {"target_modules": ["embed_tokens", "lm_head"]}),
    "rows of an embedding": (UNTIED, {"trainable_token_indices": [5, 0, 299], "target_modules": MLP}),
    "rows of a tied embedding": ({}, {"trainable_token_indices": [5, 0, 299], "target_modules": MLP}),
    "rows by module": (
        UNTIED,
        {"trainable_token_indices": {"embed_tokens": [3], "lm_head": [7, 1]}, "target_modules": MLP},
    ),
}


def randomize(model: Any) -> None:
    """Other values for everything that training would change."""
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                generator = torch.Generator().manual_seed(len(key))
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def _saved(folder: Path, model: Callable[[], Any], options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Save an adapter by peft; the weights that peft itself makes of it."""
    from peft import LoraConfig, PeftModel, get_peft_model

    with warnings.catch_warnings(action="ignore"):  # peft's own use of transformers
        made = get_peft_model(model(), LoraConfig(task_type="CAUSAL_LM", **({"r": 4, "lora_alpha": 6} | options)))
        randomize(made)
        made.save_pretrained(folder)
        merged: dict[str, torch.Tensor] = PeftModel.from_pretrained(model(), folder).merge_and_unload().state_dict()
    return merged


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_peft_merges(tmp_path: Path, kind: str) -> None:
    """Every tensor to float32 rounding, whether read, merged by the engine, or loaded into a model."""
    changes, options = KINDS[kind]
    base = open_folder(save_model(tmp_path / "base", **changes))
    expected = _saved(tmp_path / "adapter", lambda: llama(**changes), options)
    adapter = read_adapter(tmp_path / "adapter")
    ours = base.with_adapter(adapter)
    assert adapter.changed
    (tmp_path / "merged").mkdir()
    write_merged(base, [adapter], [1.0], tmp_path / "merged")
    merged = open_folder(tmp_path / "merged")
    loaded = load_model(ours, "float32").state_dict()
    for name in ours.names():
        found = ours.read(name)
        torch.testing.assert_close(found, expected[name], rtol=3e-6, atol=3e-6)
        assert torch.equal(found, merged.read(name)), name
        assert torch.equal(found, loaded[name]), name
        assert torch.equal(found, base.read(name)) == (name not in adapter.changed), name


@pytest.mark.parametrize("flag", [True, False])
def test_layers_that_store_in_out(tmp_path: Path, flag: bool) -> None:
    """GPT-2's Conv1D, whatever ``fan_in_fan_out`` says: as in peft the layer decides, also where it is square."""
    from transformers import GPT2Config, GPT2LMHeadModel

    def gpt2() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            config = GPT2Config(vocab_size=300, n_positions=32, n_embd=24, n_layer=2, n_head=2)
            return GPT2LMHeadModel(config).eval()

    gpt2().save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    options = {"target_modules": ["c_attn", "c_fc", "c_proj"], "fan_in_fan_out": True}
    expected = _saved(tmp_path / "adapter", gpt2, options)
    _say(tmp_path / "adapter", fan_in_fan_out=flag)
    base = open_folder(tmp_path / "base")
    ours = base.with_adapter(read_adapter(tmp_path / "adapter"))
    (tmp_path / "merged").mkdir()
    write_merged(base, [read_adapter(tmp_path / "adapter")], [1.0], tmp_path / "merged")
    merged = open_folder(tmp_path / "merged")
    assert len(ours.adapter.changed if ours.adapter else ()) == 8
    for name in ours.names():
        torch.testing.assert_close(ours.read(name), expected[name], rtol=3e-6, atol=3e-6)
        assert torch.equal(ours.read(name), merged.read(name))


@pytest.mark.parametrize("dora", [False, True])
def test_a_linear_layer_is_never_transposed(tmp_path: Path, dora: bool) -> None:
    """``fan_in_fan_out`` on layers that store (out, in): peft corrects it, also on square weights, which fit both."""
    from peft import PeftModel

    options = {"target_modules": ["q_proj", "o_proj", "up_proj"], "use_dora": dora}
    base = open_folder(save_model(tmp_path / "base"))
    _saved(tmp_path / "adapter", llama, options)
    _say(tmp_path / "adapter", fan_in_fan_out=True)
    with warnings.catch_warnings(action="ignore"):
        expected = PeftModel.from_pretrained(llama(), tmp_path / "adapter").merge_and_unload().state_dict()
    ours = base.with_adapter(read_adapter(tmp_path / "adapter"))
    for name in ours.names():
        torch.testing.assert_close(ours.read(name), expected[name], rtol=3e-6, atol=3e-6)


def _say(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_half_of_a_dora_adapter_is_half_of_its_change(tmp_path: Path) -> None:
    """A weight multiplies the difference from the base, as of any expert."""
    base = open_folder(save_model(tmp_path / "base"))
    expected = _saved(tmp_path / "adapter", llama, {"use_dora": True, "target_modules": MLP})
    (tmp_path / "half").mkdir()
    changed = write_merged(base, [read_adapter(tmp_path / "adapter")], [0.5], tmp_path / "half")
    half = open_folder(tmp_path / "half")
    assert len(changed) == 6
    for name in changed:
        wanted = base.read(name) + 0.5 * (expected[name] - base.read(name))
        torch.testing.assert_close(half.read(name), wanted, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("kind", ["DoRA", "lora_bias", "the head saved", "on the embedding", "rows of an embedding"])
def test_the_same_bits_in_any_blocks(tmp_path: Path, kind: str) -> None:
    """An engine may read any part of a tensor: rows, parts of rows, everything."""
    from cogen.checkpoints.files import OpenFiles
    from cogen.merging.operands import Stored

    changes, options = KINDS[kind]
    base = open_folder(save_model(tmp_path / "base", **changes))
    _saved(tmp_path / "adapter", lambda: llama(**changes), options)
    ours = base.with_adapter(read_adapter(tmp_path / "adapter"))
    assert ours.adapter is not None
    with OpenFiles() as files:
        for name in sorted(ours.adapter.changed):
            whole = ours.read(name, torch.float64).reshape(-1)
            operand = Stored(files, ours, name, "key")
            for step in (1 + len(whole) // 7, 33):
                parts = [
                    operand.read(at, min(at + step, len(whole)), torch.float64) for at in range(0, len(whole), step)
                ]
                assert torch.equal(torch.cat(parts), whole), (name, step)


@pytest.mark.parametrize("kind", ["DoRA", "lora_bias", "on the embedding", "a norm saved"])
def test_one_adapter_cannot_hold_it(tmp_path: Path, kind: str) -> None:
    changes, options = KINDS[kind]
    _saved(tmp_path / "adapter", lambda: llama(**changes), options)
    with pytest.raises(CompatibilityError, match="holds more than LoRA factors") as caught:
        concatenate([read_adapter(tmp_path / "adapter")], [1.0])
    assert "cogen adapter merge" in str(caught.value.hint)


#: Kind → (changes of the base, options, what the message names).
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "on a tied head": ({}, {"target_modules": ["lm_head", "up_proj"]}, "input and output embedding at once"),
    "on a tied embedding": ({}, {"target_modules": ["embed_tokens"]}, "input and output embedding at once"),
    "a tied embedding saved alone": (
        {},
        {"modules_to_save": ["embed_tokens"], "target_modules": MLP},
        "input and output embedding at once",
    ),
    "DoRA on an embedding": (UNTIED, {"use_dora": True, "target_modules": ["embed_tokens"]}, "is DoRA on"),
    "a bias that the base has not": ({}, {"lora_bias": True, "target_modules": MLP}, "the base lacks it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(tmp_path: Path, kind: str) -> None:
    from peft import LoraConfig, get_peft_model

    changes, options, words = REFUSED[kind]
    base = open_folder(save_model(tmp_path / "base", **changes))
    with warnings.catch_warnings(action="ignore"):
        model = get_peft_model(llama(**changes), LoraConfig(task_type="CAUSAL_LM", r=4, **options))
        randomize(model)
        model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CompatibilityError, match=words) as caught:
        base.with_adapter(read_adapter(tmp_path / "adapter"))
    assert caught.value.hint


def _edit(folder: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    change(config, tensors)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")


def _other_embedding(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    (key,) = (key for key in tensors if "base_layer" in key and "embed" in key)
    tensors[key] = tensors[key] + 1


def _more_rows(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    (key,) = (key for key in tensors if "base_layer" in key and "embed" in key)
    tensors[key] = torch.cat([tensors[key], tensors[key][:1]])


def _without(part: str) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], None]:
    def change(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if part in key]:
            del tensors[key]

    return change


def _rows(indices: Any) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], None]:
    return lambda config, tensors: config.update(trainable_token_indices=indices)


DAMAGE: dict[str, tuple[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], None], type[CogenError]]] = {
    "another embedding below": ("on the embedding", _other_embedding, CompatibilityError),
    "a larger vocabulary": ("on the embedding", _more_rows, CompatibilityError),
    "a magnitude missing": ("DoRA", _without("layers.0.mlp.up_proj.lora_magnitude"), SourceError),
    "magnitudes without DoRA": ("DoRA", lambda config, _: config.update(use_dora=False), SourceError),
    "the saved head missing": ("the head saved", _without("lm_head"), SourceError),
    "rows and indices of other lengths": ("rows of an embedding", _rows([1, 2]), SourceError),
    "an index twice": ("rows of an embedding", _rows([1, 2, 1]), SourceError),
    "an index below zero": ("rows of an embedding", _rows([1, 2, -1]), SourceError),
    "an index beyond the vocabulary": ("rows of an embedding", _rows([1, 2, 300]), CompatibilityError),
    "indices as text": ("rows of an embedding", _rows("1, 2, 3"), SourceError),
    "a bias without factors": ("lora_bias", _without("layers.0.self_attn.v_proj.lora_A"), SourceError),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(tmp_path: Path, name: str) -> None:
    """One line and a hint for each; never another model."""
    kind, change, error = DAMAGE[name]
    changes, options = KINDS[kind]
    base = open_folder(save_model(tmp_path / "base", **changes))
    _saved(tmp_path / "adapter", lambda: llama(**changes), options)
    _edit(tmp_path / "adapter", change)
    with pytest.raises(error) as caught:
        base.with_adapter(read_adapter(tmp_path / "adapter"))
    assert caught.value.hint


def test_the_bits_of_plain_lora_stay(tmp_path: Path) -> None:
    """``W + s·B·A`` in the accumulator, added once: locks of before name these bits."""
    base = open_folder(save_model(tmp_path / "base"))
    _saved(tmp_path / "adapter", llama, {"target_modules": MLP})
    adapter = read_adapter(tmp_path / "adapter")
    assert adapter.plain
    ours = Checkpoint(base.folder, base.tensors, adapter)
    for name in adapter.pairs:
        wide = base.read(name).double()
        assert torch.equal(ours.read(name), (wide + adapter.delta(name, torch.float64)).float())
