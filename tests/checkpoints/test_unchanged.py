"""An adapter changes nothing exactly where every product of its factors is zero; torch is the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.unchanged import changes_nothing

NAME = "base_model.model.model.layers.{}.mlp.up_proj.lora_{}.weight"


def adapter(folder: Path, *factors: tuple[torch.Tensor, torch.Tensor], dora: torch.Tensor | None = None) -> bool:
    tensors = {
        NAME.format(layer, part): pair[i].clone() for layer, pair in enumerate(factors) for i, part in enumerate("AB")
    }
    if dora is not None:
        tensors["base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector.weight"] = dora
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj"], "use_dora": dora is not None}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return changes_nothing(read_adapter(folder))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_zero_products(tmp_path: Path, dtype: torch.dtype) -> None:
    a, b = torch.ones(2, 3, dtype=dtype), torch.zeros(5, 2, dtype=dtype)
    assert adapter(tmp_path, (a, b), (a * 0, b + 1), (a, -b))  # -0.0 is zero


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_one_number(tmp_path: Path, dtype: torch.dtype, place: int) -> None:
    """The smallest number in any place is a change."""
    a, b = torch.ones(2, 3, dtype=dtype), torch.zeros(5, 2, dtype=dtype)
    changed = b.clone()
    changed.view(-1)[place] = torch.finfo(dtype).tiny
    assert not adapter(tmp_path, (a, b), (a, changed))


def test_what_factors_do_not_tell(tmp_path: Path) -> None:
    """A magnitude may change the model, whatever the factors hold."""
    assert not adapter(tmp_path, (torch.ones(2, 3), torch.zeros(5, 2)), dora=torch.ones(5))
