"""Sums without rounding: the same whatever the blocks, the threads and the order of the elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cogen.merging.kernels.bits import magnitude
from cogen.merging.kernels.floats import INFINITY

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def exact_sums(stack: Stack, values: Callable[[Block], Sequence[torch.Tensor]]) -> list[float]:
    """For each of the tensors that ``values`` gives for a block their sum over the whole tensor.

    The numbers are not negative. Each is rounded to float32, an integer times a power of two; integers with the same
    power are added as integers, so the sum is exact and rounded once, at the end. Where float64 is the accumulator a
    number is the sum of two of float32: its leading 24 bits and the rest. NaN, the difference of two infinities, is
    left out. An empty list if there are no blocks.
    """
    import torch

    twice = stack.dtype == torch.float64
    totals: list[np.ndarray] = []
    for found in stack.map(lambda block: [_by_exponent(part) for x in values(block) for part in _parts(x, twice)]):
        totals = found if not totals else [total + part for total, part in zip(totals, found, strict=True)]
    sums = [_value(total.tolist()) for total in totals]
    return [first + rest for first, rest in zip(sums[::2], sums[1::2], strict=True)] if twice else sums


def _parts(x: torch.Tensor, twice: bool) -> list[torch.Tensor]:
    import torch

    if not twice:
        return [x]
    wide = x.to(torch.float64)
    leading = (wide.view(torch.int64) & ~((1 << 29) - 1)).view(torch.float64)
    return [leading, wide - leading]


def _by_exponent(x: torch.Tensor) -> np.ndarray:
    """For each of the 256 exponents of float32 the sum of the integers, int64."""
    import torch

    bits = magnitude(x.reshape(-1))
    bits = bits & (bits - (INFINITY[4] + 1)).bitwise_right_shift_(31)
    # Exponents 0 and 1 have the same unit; only a number with exponent 0 lacks the leading one.
    exponent = (bits >> 23).clamp_min_(1)
    whole = bits - ((exponent - 1) << 23)
    # bincount adds in float64: exact, as 2²⁹ integers of 24 bits are below 2⁵³.
    found = torch.bincount(exponent, weights=whole.to(torch.float64), minlength=256)
    return found.to(torch.int64).numpy()


def _value(integers: list[int]) -> float:
    if integers[255]:
        return math.inf
    total = sum(integer << (exponent - 1) for exponent, integer in enumerate(integers) if integer)
    return total / (1 << 149)  # the smallest float32 is 2⁻¹⁴⁹; a quotient of integers is rounded correctly
