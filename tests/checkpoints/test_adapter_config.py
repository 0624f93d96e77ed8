"""What strangers write into adapter_config.json and config.json: refused by name in one line, or read as before."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import FFN, llama, save_adapter, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.adapter_config import read_config
from cogen.checkpoints.facts import facts_of
from cogen.checkpoints.json_files import json_object
from cogen.checkpoints.model import open_folder
from cogen.errors import CogenError, CompatibilityError, SourceError

NAN, INFINITY = float("nan"), float("inf")
#: Name → (change of adapter_config.json, what the error names).
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "alpha NaN": ({"lora_alpha": NAN}, "lora_alpha = nan"),
    "alpha infinite": ({"lora_alpha": INFINITY}, "lora_alpha = inf"),
    "alpha minus infinite": ({"lora_alpha": -INFINITY}, "lora_alpha = -inf"),
    "alpha of 400 digits": ({"lora_alpha": 10**400}, "lora_alpha = a number of 1329 bits"),
    "alpha out of range": ({"lora_alpha": 1e38}, "lora_alpha"),
    "alpha true": ({"lora_alpha": True}, "lora_alpha"),
    "alpha as text": ({"lora_alpha": "4"}, "lora_alpha"),
    "alpha as a list": ({"lora_alpha": [4]}, "lora_alpha"),
    "rank true": ({"r": True}, "r: "),
    "rank a fraction": ({"r": 4.5}, "r: "),
    "rank NaN": ({"r": NAN}, "r = nan"),
    "rank below zero": ({"r": -4}, "r: "),
    "rank far too large": ({"r": 1 << 40}, "r: "),
    "rank_pattern a list": ({"rank_pattern": ["a"]}, "rank_pattern"),
    "rank_pattern a text": ({"rank_pattern": "x"}, "rank_pattern"),
    "rank_pattern true": ({"rank_pattern": {"q": True}}, "rank_pattern.q"),
    "rank_pattern NaN": ({"rank_pattern": {"q": NAN}}, "rank_pattern.q = nan"),
    "alpha_pattern a text": ({"alpha_pattern": "x"}, "alpha_pattern"),
    "alpha_pattern NaN": ({"alpha_pattern": {"up_proj": NAN}}, "alpha_pattern.up_proj = nan"),
    "alpha_pattern infinite": ({"alpha_pattern": {"up_proj": INFINITY}}, "alpha_pattern.up_proj = inf"),
    "alpha_pattern true": ({"alpha_pattern": {"up_proj": True}}, "alpha_pattern.up_proj"),
    "alpha_pattern huge": ({"alpha_pattern": {"up_proj": 10**400}}, "alpha_pattern.up_proj"),
    "a damaged expression": ({"rank_pattern": {"*.q_proj": 2}}, "rank_pattern"),
    "a group that is open": ({"alpha_pattern": {"(?P<a>x": 1}}, "alpha_pattern"),
    "modules_to_save a number": ({"modules_to_save": 3}, "modules_to_save"),
    "modules_to_save of numbers": ({"modules_to_save": [1]}, "modules_to_save"),
    "modules_to_save a text": ({"modules_to_save": "lm_head"}, "modules_to_save"),
    "target_modules a number": ({"target_modules": 3}, "target_modules"),
    "exclude_modules a table": ({"exclude_modules": {"a": 1}}, "exclude_modules"),
    "layers_pattern a number": ({"layers_pattern": [1]}, "layers_pattern"),
    "use_dora a text": ({"use_dora": "no"}, "use_dora"),
    "use_rslora a number": ({"use_rslora": 2}, "use_rslora"),
    "fan_in_fan_out a text": ({"fan_in_fan_out": "false"}, "fan_in_fan_out"),
    "start a list": ({"init_lora_weights": ["a"]}, "init_lora_weights"),
    "peft_type a list": ({"peft_type": ["LORA"]}, "peft_type"),
    "dropout NaN": ({"lora_dropout": NAN}, "lora_dropout = nan"),
    "base a list": ({"base_model_name_or_path": ["x"]}, "base_model_name_or_path"),
    "an unknown option NaN": ({"some_config": {"inner": [1, NAN]}}, "some_config.inner[1] = nan"),
    "lines in a name": ({"rank_pattern": {"a\nb\x1b[2J": True}}, "rank_pattern"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_fields(tmp_path: Path, name: str) -> None:
    """One line of printable characters that names the field, and a hint; by every reader of adapters."""
    change, named = HOSTILE[name]
    folder = save_adapter(tmp_path / "a", **change)
    for reader in (read_adapter, facts_of):
        with pytest.raises(CogenError) as caught:
            reader(folder)
        assert named in caught.value.message
        assert caught.value.message.isprintable()
        assert caught.value.hint


def test_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    """1e999 is read as infinity, with no word of it in the file; a nest of lists ends Python's reader."""
    folder = save_adapter(tmp_path / "a")
    file = folder / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 8', '"lora_alpha": 1e999'))
    with pytest.raises(SourceError, match="lora_alpha = inf"):
        read_adapter(folder)
    file.write_text("[" * 100_000)
    with pytest.raises(SourceError, match="missing or damaged"):
        read_adapter(folder)
    file.write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(SourceError, match="missing or damaged"):
        read_adapter(folder)


USUAL: list[dict[str, Any]] = [
    {"lora_alpha": 16.5},
    {"lora_alpha": 0},
    {"lora_alpha": -8},
    {"rank_pattern": {}, "alpha_pattern": None},
    {"alpha_pattern": {".*up_proj": 2.5, "(gate|down)_proj": 3}},
    {"target_modules": r"(?!.*visual).*\.(up|gate)_proj", "exclude_modules": r"\blm_head"},
    {"target_modules": "all-linear", "layers_to_transform": [0, 1], "layers_pattern": "layers"},
    {"layers_to_transform": [0, 1], "layers_pattern": ["layers"], "modules_to_save": []},
    {"use_dora": None, "use_rslora": None, "bias": "none", "task_type": None, "revision": "main"},
    {"eva_config": None, "loftq_config": {}, "runtime_config": {"ephemeral_gpu_offload": False}, "corda_config": None},
    {"peft_version": "0.99", "an_option_to_come": {"a": None, "b": False}, "another": False, "lora_dropout": 0},
    {"qalora_group_size": 16, "megatron_core": "megatron.core", "lorap_emb_lr": 1e-6, "enable_lora": None},
    {"eva_config": {"rho": 2.0}, "loftq_config": {"loftq_bits": 4}, "unsloth_fixed": True, "merge_weights": True},
    {"auto_mapping": {"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True}},
]
#: Options that are on, and that no version knows by which CoGen was written.
UNKNOWN: list[dict[str, Any]] = [
    {"use_tomorrow": True},
    {"tomorrow_config": {"alpha": 2}},
    {"enable_lora": [True, False, True]},
    {"a\nb": True},
]


@pytest.mark.parametrize("change", UNKNOWN)
def test_what_is_not_known_and_switched_on(tmp_path: Path, change: dict[str, Any]) -> None:
    """It may change what the factors mean: refused by its name, in one line."""
    with pytest.raises(CompatibilityError, match="which CoGen does not know") as caught:
        read_adapter(save_adapter(tmp_path / "a", **change))
    assert next(iter(change)).split("\n")[0] in caught.value.message
    assert "\n" not in caught.value.message
    assert "relation 'full'" in str(caught.value.hint)


#: Options by which peft leaves out some of the layers that the tiny adapter has factors of.
LEFT_OUT: list[tuple[dict[str, Any], str]] = [
    ({"target_modules": ["up_proj", "gate_proj"]}, "layers.0.mlp.down_proj.weight, which its target_modules"),
    ({"target_modules": ["proj"]}, "which its target_modules"),
    ({"target_modules": ["up_proj", "gate_proj", "down_proj"], "layers_to_transform": 1}, "layers.0.mlp.down_proj"),
    ({"layers_to_transform": [0], "target_modules": ["mlp.up_proj", "gate_proj", "down_proj"]}, "layers.1"),
    (
        {"layers_to_transform": [0, 1], "layers_pattern": "h", "target_modules": ["up_proj", "gate_proj", "down_proj"]},
        "layers_to_transform",
    ),
    ({"target_modules": ["up_proj", "gate_proj", "down_proj"], "exclude_modules": ["down_proj"]}, "exclude_modules"),
]


@pytest.mark.parametrize(("change", "text"), LEFT_OUT)
def test_factors_that_peft_would_leave_out(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    from peft import PeftModel

    folder = save_adapter(tmp_path / "a", **change)
    with pytest.raises(SourceError, match="peft would not apply") as caught:
        read_adapter(folder)
    assert text in caught.value.message
    with warnings.catch_warnings(action="ignore"):
        try:
            model = PeftModel.from_pretrained(llama(), folder)
        except ValueError:  # no layer is left
            return
    loaded = {name for name in model.state_dict() if "lora_A" in name}
    assert 0 < len(loaded) < len(FFN)


@pytest.mark.parametrize("change", USUAL)
def test_usual_fields(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = save_adapter(tmp_path / "a", **change)
    assert read_adapter(folder).pairs
    assert read_config(folder) == json.loads((folder / "adapter_config.json").read_text())


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    """The scale has the bits that it had: alpha is divided as it stands in the file."""
    alpha = (1 << 19) + 1
    adapter = read_adapter(save_adapter(tmp_path / "a", rank=3, alpha=alpha, use_rslora=True))
    assert {scale for _, _, scale in adapter.pairs.values()} == {alpha / 3**0.5}


@pytest.mark.parametrize("option", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_would_never_end(tmp_path: Path, option: str) -> None:
    """Nothing of it matches, so the numbers for all modules hold; with Python's engine it takes 2³⁰ steps."""
    folder = save_adapter(tmp_path / "a", **{option: {"(([a-z._0-9])+)+!": 2}})
    assert {scale for _, _, scale in read_adapter(folder).pairs.values()} == {2.0}
    folder = save_adapter(tmp_path / "b", alpha_pattern={"(([a-z._0-9])+)+": 2})
    assert {scale for _, _, scale in read_adapter(folder).pairs.values()} == {0.5}


#: Of a model's config.json.
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "eps NaN": ({"rms_norm_eps": NAN}, "rms_norm_eps = nan"),
    "eps below zero": ({"rms_norm_eps": -1e-6}, "rms_norm_eps = -1e-06"),
    "theta infinite": ({"rope_theta": INFINITY}, "rope_theta = inf"),
    "theta nested": ({"rope_scaling": {"factor": NAN}}, "rope_scaling.factor = nan"),
    "a size below zero": ({"hidden_size": -32}, "hidden_size = -32"),
    "a size true": ({"vocab_size": True}, "vocab_size = True"),
    "a size as text": ({"num_hidden_layers": "2"}, "num_hidden_layers = '2'"),
    "a size of 400 digits": ({"max_position_embeddings": 10**400}, "max_position_embeddings"),
    "nested": ({"text_config": {"num_attention_heads": -1}}, "text_config.num_attention_heads = -1"),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_whole_models(tmp_path: Path, name: str) -> None:
    folder = save_model(tmp_path / "m")
    change, named = MODELS[name]
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    for reader in (facts_of, lambda folder: open_folder(folder).config):
        with pytest.raises(SourceError) as caught:
            reader(folder)
        assert named in caught.value.message
        assert caught.value.message.isprintable()
        assert caught.value.hint


def test_no_limit_is_infinite_where_transformers_says_so(tmp_path: Path) -> None:
    """Configurations of Mamba 2 hold ``"time_step_limit": [0.0, Infinity]``, -1 is "none" for a token, null no size."""
    given = {"time_step_limit": [0.0, INFINITY], "pad_token_id": -1, "head_dim": None, "rms_norm_eps": 0}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(given))
    assert json_object(file) == given


def test_the_modules_of_the_tiny_model(tmp_path: Path) -> None:
    """Patterns give each module its own scale; the first that fits counts."""
    alphas = {"layers.0.mlp.up_proj": 4, r"^model\.layers\.1\..*": 12, "up_proj": 20}
    adapter = read_adapter(save_adapter(tmp_path / "a", alpha_pattern=alphas))
    for module in FFN:
        wanted = 1.0 if module.endswith("0.mlp.up_proj") else 3.0 if ".1." in module else 2.0
        assert adapter.pairs[f"{module}.weight"][2] == wanted
    assert torch.isfinite(adapter.delta(f"{FFN[0]}.weight", torch.float32)).all()
