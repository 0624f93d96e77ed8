"""No number is above the bound of its tensor, and the bound is near; torch is the reference."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import FFN, save_adapter

from cogen.checkpoints.adapter import LoraAdapter, read_adapter
from cogen.checkpoints.magnitude import first_too_large, log2_bound
from cogen.checkpoints.safetensors_file import read_header, read_tensor


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


def scaled(folder: Path, largest: float, dtype: str, **config: Any) -> LoraAdapter:
    """An adapter the largest of whose changes is about ``largest``."""
    adapter = read_adapter(save_adapter(folder / "first", dtype="float32", **config))
    most = max(float(adapter.delta(name, torch.float32).abs().max()) for name in adapter.pairs)
    stored = load_file(folder / "first" / "adapter_model.safetensors")
    factor = math.sqrt(largest / most)
    save_adapter(folder / "scaled", **config)
    tensors = {name: (tensor * factor).to(getattr(torch, dtype)) for name, tensor in stored.items()}
    save_file(tensors, folder / "scaled" / "adapter_model.safetensors")
    return read_adapter(folder / "scaled")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rank", [1, 4, 16])
@pytest.mark.parametrize("largest", [1.0, 500.0, 3e3, 70e3, 1e6])
def test_float16(tmp_path: Path, dtype: str, rank: int, largest: float) -> None:
    """What overflows float16 is found in any type of the factors, and what is far below is not; in bfloat16 all fit."""
    adapter = scaled(tmp_path, largest, dtype, rank=rank)
    deltas = {name: adapter.delta(name, torch.float32) for name in adapter.pairs}
    beyond = {name for name, delta in deltas.items() if not delta.half().isfinite().all()}
    found = first_too_large(adapter, "float16")
    assert (found in adapter.pairs) == (found is not None)
    if beyond:
        assert found is not None
    elif largest <= 500:
        assert found is None
    if found is not None:
        a, b, scale = adapter.pairs[found]
        maxima = read_tensor(a).float().abs().amax(1), read_tensor(b).float().abs().amax(0)
        assert scale * float(maxima[0].double() @ maxima[1].double()) >= 65520
    assert first_too_large(adapter) is None
    assert first_too_large(adapter, "bfloat16") is None


@pytest.mark.parametrize(("value", "beyond"), [(65519.0, False), (65520.0, True), (-1e9, True), (3.0, False)])
@pytest.mark.parametrize("kind", ["replaced", "added", "rows", "magnitudes"])
def test_what_is_no_factor(tmp_path: Path, kind: str, value: float, beyond: bool) -> None:
    """Tensors that take a weight's place, biases, rows of embeddings, magnitudes of DoRA: as they are stored."""
    tensor = torch.full((3, 2), 0.5)
    tensor[1, 1] = value
    save_file({"x": tensor}, tmp_path / "x.safetensors")
    info = read_header(tmp_path / "x.safetensors")["x"]
    held: dict[str, Any] = {"x": {"added": (info, 1.0), "rows": ((0, 1, 2), info)}.get(kind, info)}
    adapter = replace(LoraAdapter(tmp_path, {}), **{kind: held})
    assert first_too_large(adapter, "float16") == ("x" if beyond else None)
    assert first_too_large(adapter, "bfloat16") is None
    assert bool(torch.tensor(value).half().isinf()) is beyond


def test_magnitudes_of_dora_bound_its_factors(tmp_path: Path) -> None:
    """A large change of a row that is brought back to its magnitude overflows nothing."""
    adapter = scaled(tmp_path, 1e6, "float32")
    save_file({"x": torch.full((64,), 2.0)}, tmp_path / "x.safetensors")
    info = read_header(tmp_path / "x.safetensors")["x"]
    dora = replace(adapter, magnitudes=dict.fromkeys(adapter.pairs, info))
    assert first_too_large(adapter, "float16") is not None
    assert first_too_large(dora, "float16") is None
