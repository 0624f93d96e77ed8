"""LoRA adapters as differences: peft is the reference, and the bits are the same everywhere."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import FFN, llama, save_adapter, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.errors import CogenError, CompatibilityError, SourceError

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8},
    "alpha of one third": {"r": 3, "lora_alpha": 1},
    "all linear": {"r": 2, "lora_alpha": 5, "target_modules": "all-linear"},
    "rank-stabilised": {"r": 8, "lora_alpha": 16, "use_rslora": True},
    "ranks by pattern": {"r": 4, "lora_alpha": 8, "rank_pattern": {"up_proj": 2, r"layers\.1\.mlp\.down_proj": 6}},
    "alphas by pattern": {"r": 4, "lora_alpha": 8, "alpha_pattern": {"model.layers.0.mlp.up_proj": 3, "gate_proj": 32}},
    "an anchored pattern": {"r": 4, "lora_alpha": 8, "alpha_pattern": {"^model.layers.0.mlp.up_proj": 3}},
    "the first pattern wins": {"r": 4, "lora_alpha": 8, "alpha_pattern": {"up_proj": 3, "mlp.up_proj": 5}},
    "rank-stabilised by pattern": {
        "r": 4,
        "lora_alpha": 8,
        "use_rslora": True,
        "rank_pattern": {"up_proj": 9},
        "alpha_pattern": {"gate_proj": 5},
    },
    "some layers": {"r": 4, "lora_alpha": 8, "layers_to_transform": [1], "layers_pattern": "layers"},
}


class TestAgainstPeft:
    """``merge_and_unload`` of peft itself says what an adapter means."""

    @pytest.mark.parametrize("name", CONFIGS)
    def test_base_plus_delta_is_what_peft_merges(self, tmp_path: Path, name: str) -> None:
        """To float32 rounding, for every tensor; tensors that are not adapted are the base's."""
        from peft import LoraConfig, PeftModel, get_peft_model

        base = save_model(tmp_path / "base")
        options = {"target_modules": ["gate_proj", "up_proj", "down_proj"]} | CONFIGS[name]
        with warnings.catch_warnings(action="ignore"):  # peft's own use of transformers
            model = get_peft_model(llama(), LoraConfig(task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.copy_(
                        torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(key))) * 0.3
                    )
        model.save_pretrained(tmp_path / "adapter")
        # loaded again, because peft sorts the patterns when it saves them
        with warnings.catch_warnings(action="ignore"):
            model = PeftModel.from_pretrained(llama(), tmp_path / "adapter")
        merged = model.merge_and_unload().state_dict()
        plain = open_folder(base)
        adapter = read_adapter(tmp_path / "adapter")
        ours = Checkpoint(plain.folder, plain.tensors, adapter)
        assert adapter.pairs
        for tensor in ours.names():
            found, expected = ours.read(tensor), merged[tensor]
            torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
            if tensor not in adapter.pairs:
                assert torch.equal(found, plain.read(tensor))
            else:
                assert not torch.equal(found, plain.read(tensor))


def test_the_delta_by_its_definition(tmp_path: Path) -> None:
    """``alpha / r · B·A``, in float64 by numpy."""
    adapter = read_adapter(save_adapter(tmp_path / "a", rank=4, alpha=6, dtype="float32"))
    raw = {
        name: tensor.double().numpy()
        for name, tensor in load_file(tmp_path / "a" / "adapter_model.safetensors").items()
    }
    for module in FFN:
        a, b = (raw[f"base_model.model.{module}.lora_{letter}.weight"] for letter in "AB")
        found = adapter.delta(f"{module}.weight", torch.float64)
        torch.testing.assert_close(found, torch.from_numpy(1.5 * (b @ a)), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_bits_with_any_number_of_threads(tmp_path: Path, dtype: torch.dtype) -> None:
    """No matrix product, so no library may choose another order of summing."""
    folder = tmp_path / "a"
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 16, "lora_alpha": 3, "peft_type": "LORA"}))
    factors = {"A": torch.randn(16, 384, generator=generator), "B": torch.randn(512, 16, generator=generator)}
    save_file(
        {f"base_model.model.m.lora_{k}.weight": v for k, v in factors.items()}, folder / "adapter_model.safetensors"
    )
    adapter, threads = read_adapter(folder), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(adapter.delta("m.weight", dtype))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


REFUSED: dict[str, Any] = {
    "peft_type": "IA3",
    "layer_replication": [[0, 2], [1, 2]],
    "target_parameters": ["mlp.experts.gate_up_proj"],
    "use_qalora": True,
    "alora_invocation_tokens": [1],
    "arrow_config": {"top_k": 2},
    "kasa_config": {"beta": 1.0},
    "use_bdlora": {"nblocks": 2},
    "monteclora_config": {"num_samples": 2},
    "init_lora_weights": "pissa",
}


@pytest.mark.parametrize("option", sorted(REFUSED))
def test_what_has_no_closed_form_is_refused_by_name(tmp_path: Path, option: str) -> None:
    """Each option that makes the adapter more than a formula of its base; PiSSA and its like change the base itself."""
    folder = save_adapter(tmp_path / "a", **{option: REFUSED[option]})
    with pytest.raises(CompatibilityError, match=option) as caught:
        read_adapter(folder)
    assert "peft" in str(caught.value.hint)


@pytest.mark.parametrize(
    "init", [True, False, "gaussian", "orthogonal", "eva", "pissa_niter_4", "olora", "loftq", "corda"]
)
def test_initialisations_that_change_the_base(tmp_path: Path, init: Any) -> None:
    """Only an initialisation that leaves the base's weights alone gives a plain difference."""
    folder = save_adapter(tmp_path / "a", init_lora_weights=init)
    if init in (True, False, "gaussian", "orthogonal", "eva"):
        assert read_adapter(folder).pairs
    else:
        with pytest.raises(CompatibilityError, match="init_lora_weights"):
            read_adapter(folder)


def _without_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def _config(text: str) -> Any:
    return lambda folder: (folder / "adapter_config.json").write_text(text)


def _tensors(**change: Any) -> Any:
    def apply(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        tensors = load_file(file)
        for key, value in change.items():
            name = f"base_model.model.{FFN[0]}.{key.replace('__', '.')}"
            if value is None:
                del tensors[name]
            else:
                tensors[name] = value
        save_file(tensors, file)

    return apply


DAMAGE: dict[str, Any] = {
    "no config": _without_config,
    "damaged config": _config("{"),
    "a list as config": _config("[]"),
    "no rank": _config('{"lora_alpha": 8, "peft_type": "LORA"}'),
    "no alpha": _config('{"r": 8, "peft_type": "LORA"}'),
    "rank zero": _config('{"r": 0, "lora_alpha": 8}'),
    "another rank": _config('{"r": 5, "lora_alpha": 8}'),
    "text as rank": _config('{"r": "4", "lora_alpha": 8}'),
    "a factor missing": _tensors(lora_A__weight=None),
    "factors that do not fit": _tensors(lora_A__weight=torch.ones(3, 32)),
    "factors of one dimension": _tensors(lora_A__weight=torch.ones(4), lora_B__weight=torch.ones(4)),
    "an embedding": _tensors(lora_embedding_A=torch.ones(4, 4)),
    "a magnitude": _tensors(lora_magnitude_vector=torch.ones(4)),
}


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_damaged_adapters(tmp_path: Path, name: str) -> None:
    """One line and a hint for each."""
    folder = save_adapter(tmp_path / "a")
    DAMAGE[name](folder)
    with pytest.raises(CogenError) as caught:
        read_adapter(folder)
    assert isinstance(caught.value, SourceError | CompatibilityError)
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_what_is_evaluated_is_what_a_merge_writes(tmp_path: Path, dtype: str) -> None:
    """The loaded model holds base plus difference, rounded once from the accumulator to the stored dtype."""
    plain = open_folder(save_model(tmp_path / "base", dtype=dtype))
    adapter = read_adapter(save_adapter(tmp_path / "a"))
    model = load_model(Checkpoint(plain.folder, plain.tensors, adapter), dtype)
    wide = torch.float64 if dtype == "float32" else torch.float32
    for name, parameter in model.named_parameters():
        expected = plain.read(name)
        if name in adapter.pairs:
            expected = (expected.to(wide) + adapter.delta(name, wide)).to(expected.dtype)
        assert torch.equal(parameter, expected), name
    assert not model.training
