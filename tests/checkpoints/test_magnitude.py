"""No number is above the bound of its tensor, and the bound is near; torch is the reference."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.tiny import FFN, save_adapter

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.magnitude import first_too_large, log2_bound
from cogen.checkpoints.safetensors_file import read_header


def bound(folder: Path, tensor: torch.Tensor) -> float:
    save_file({"x": tensor}, folder / "x.safetensors")
    return log2_bound(read_header(folder / "x.safetensors")["x"])


@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float64, 16), (torch.float32, 2), (torch.bfloat16, 2), (torch.float16, 1)]
)
@pytest.mark.parametrize("power", [-12.0, -0.5, 0.0, 0.3, 1.0, 7.9, 15.9])
@pytest.mark.parametrize("sign", [-1, 1])
def test_above_and_near(tmp_path: Path, dtype: torch.dtype, slack: int, power: float, sign: int) -> None:
    tensor = torch.full((9,), 2.0**-13).to(dtype)
    tensor[5] = sign * 2.0**power
    largest = math.log2(float(tensor.double().abs().max()))
    assert largest < bound(tmp_path, tensor) <= largest + slack


def test_adapters(tmp_path: Path) -> None:
    """What is finite in the file and not in a model is found by its weight; usual ones pass, large numbers or not."""
    folder = save_adapter(tmp_path / "a", alpha=1e6, dtype="float32")
    assert first_too_large(read_adapter(folder)) is None
    tensors = {
        f"base_model.model.{FFN[0]}.lora_{letter}.weight": torch.full(shape, 1e20)
        for letter, shape in (("A", (4, 32)), ("B", (64, 4)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    adapter = read_adapter(folder)
    assert not adapter.delta(f"{FFN[0]}.weight", torch.float32).isfinite().all()
    assert first_too_large(adapter) == f"{FFN[0]}.weight"
    folder = save_adapter(tmp_path / "zero", alpha=0, dtype="float32")
    save_file(tensors, folder / "adapter_model.safetensors")
    assert first_too_large(read_adapter(folder)) is None
