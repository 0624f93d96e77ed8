"""Sums without rounding."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.merging.block import InMemory, Stack
from cogen.merging.kernels.exact import exact_sums


def sums(values: torch.Tensor, block: int) -> list[float]:
    """Of the numbers, and of their halves."""
    stack = Stack("w", None, [InMemory(values)], values.dtype, block=block)
    return exact_sums(stack, lambda part: [part.expert(0), part.expert(0) / 2])


@settings(deadline=None)
@given(
    values=st.lists(st.floats(0, width=32, allow_infinity=False), min_size=1, max_size=40),
    block=st.integers(1, 40),
    order=st.randoms(),
)
def test_exact_whatever_the_order(values: list[float], block: int, order: object) -> None:
    """The same as Python's exact sum, from the smallest denormal number to the largest."""
    shuffled = list(values)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    found, halves = sums(torch.tensor(shuffled, dtype=torch.float32), block)
    assert found == math.fsum(values)
    assert halves == math.fsum(np.float32(v) / np.float32(2) for v in values)
    assert sums(torch.tensor(shuffled, dtype=torch.float64), block)[0] == found


def test_many_numbers() -> None:
    """More than one block, more than a float32 could count."""
    values = torch.rand(1 << 20, generator=torch.Generator().manual_seed(1))
    expected = math.fsum(values.tolist())
    assert sums(values, 1 << 18)[0] == sums(values, 12345)[0] == expected
    assert float(values.sum()) != expected


def test_float64_is_summed_in_two_parts() -> None:
    """The leading 24 bits and the rest, each exactly: as good as float64, where float32 loses half of the digits."""
    generator = torch.Generator().manual_seed(4)
    values = torch.rand(1000, generator=generator, dtype=torch.float64) ** 8
    found, expected = sums(values, 100)[0], math.fsum(values.tolist())
    assert abs(found - expected) <= 1e-14 * expected
    assert abs(math.fsum(values.float().tolist()) - expected) > 1e-12 * expected


def test_infinity_and_what_is_no_number() -> None:
    """One infinity makes the sum infinite; NaN counts for nothing."""
    assert sums(torch.tensor([1.0, math.inf]), 1)[0] == math.inf
    assert sums(torch.tensor([1.0, math.nan, 2.0, -math.nan]), 3)[0] == 3.0


def test_nothing() -> None:
    """No blocks, no sums."""
    assert sums(torch.empty(0), 8) == []
