"""Tensors for law tests: as checkpoints store them, and as the engine widens and rounds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

#: Every stored type with the accumulator that the engine takes for it.
ACCUMULATORS = {torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.float32: torch.float64}
STORED = tuple(ACCUMULATORS)

#: Values that break sloppy arithmetic: signed zeros, the smallest and largest numbers, one next to one.
AWKWARD = {
    torch.bfloat16: [0.0, -0.0, 1.0, -1.0, 1.0078125, 9.2e-41, -9.2e-41, 3.3895e38, -3.3895e38, 1e-30, 1e30, 0.1],
    torch.float16: [0.0, -0.0, 1.0, -1.0, 1.0009765625, 6e-8, -6e-8, 65504.0, -65504.0, 0.1, 1000.0],
    torch.float32: [0.0, -0.0, 1.0, -1.0, 1.0000001192092896, 1e-45, -1e-45, 3.4e38, -3.4e38, 1e-30, 1e30, 0.1],
}


def normal(shape: tuple[int, ...], count: int, seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """``count`` tensors of normally distributed numbers."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)]


def related(shape: tuple[int, ...], count: int, seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """A base and ``count`` experts whose differences from it have cosines around one half."""
    base, common, *own = normal(shape, count + 2, seed)
    return [base.to(dtype), *((base + 0.2 * (common + part)).to(dtype) for part in own)]


def awkward(dtype: torch.dtype, seed: int, shape: tuple[int, ...] = (20, 20)) -> torch.Tensor:
    """Normal values and, in half of the places, awkward ones."""
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
    values = torch.tensor(AWKWARD[dtype], dtype=torch.float64)
    where = torch.rand(shape, generator=generator) < 0.5
    tensor[where] = values[torch.randint(0, len(values), (int(where.sum()),), generator=generator)]
    return tensor.to(dtype)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def merge(
    method: Any,
    base: torch.Tensor | None,
    experts: Sequence[torch.Tensor],
    weights: Sequence[float] | None = None,
    **parameters: Any,
) -> torch.Tensor:
    """Widen stored tensors to the accumulator, merge, round to the stored type; equal weights by default."""
    stored = experts[0].dtype
    wide = ACCUMULATORS[stored]
    anchor = None if base is None else base.to(wide)
    shares = [1.0] * len(experts) if weights is None else list(weights)
    return method(anchor, [expert.to(wide) for expert in experts], shares, **parameters).to(stored)
