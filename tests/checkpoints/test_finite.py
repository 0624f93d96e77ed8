"""NaN and infinity are found in every floating point format, wherever they stand; torch is the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cogen.checkpoints.finite import first_not_finite
from cogen.checkpoints.safetensors_file import read_header

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float8_e4m3fn]
DTYPES.append(torch.float8_e8m0fnu)


def found(folder: Path, **tensors: torch.Tensor) -> str | None:
    save_file(tensors, folder / "x.safetensors")
    return first_not_finite(read_header(folder / "x.safetensors"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 5, 16])
def test_one_value_among_others(tmp_path: Path, dtype: torch.dtype, value: float, place: int) -> None:
    tensor = torch.arange(17, dtype=torch.float32)
    tensor[place] = value
    cast = tensor.to(dtype)
    finite = bool(cast.float().isfinite().all())
    assert found(tmp_path, a=torch.ones(3), b=cast) == (None if finite else "b")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_value_of_two_bytes(tmp_path: Path, dtype: torch.dtype) -> None:
    """All that are finite pass together, and each of the others alone is found."""
    values = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype)
    finite = values.float().isfinite()
    assert found(tmp_path, a=values[finite]) is None
    strange = values[~finite]
    assert len(strange) > 100
    assert all(found(tmp_path, a=strange[i : i + 1].clone()) == "a" for i in range(0, len(strange), 37))


def test_integers_and_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, a=torch.full((3,), -1), b=torch.zeros(0)) is None
