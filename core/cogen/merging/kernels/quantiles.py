"""Exact quantiles of a whole tensor, without sorting or sampling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cogen.merging.kernels.bits import magnitude

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

#: Bits of a digit: a magnitude's code has two, so that two histograms find an element.
_DIGIT = 16


def order_statistics(stack: Stack, values: Callable[[Block], torch.Tensor], ranks: Sequence[int]) -> list[float]:
    """The elements with these ranks, 0 the smallest, among ``values`` of the whole tensor, which are not negative.

    Exact in float32, to which the values are rounded; two passes and one histogram a rank. NaN is the largest.
    ``ranks`` lie below the number of elements.
    """
    high = np.zeros(1 << _DIGIT, dtype=np.int64)
    for part in stack.map(lambda block: _histogram(_codes(values(block)) >> _DIGIT)):
        high += part
    places = [_place(high, rank) for rank in ranks]
    digits = sorted({digit for digit, _ in places})

    def lower(block: Block) -> list[np.ndarray]:
        codes = _codes(values(block))
        return [_histogram(codes[(codes >> _DIGIT) == digit] & (1 << _DIGIT) - 1) for digit in digits]

    low = {digit: np.zeros(1 << _DIGIT, dtype=np.int64) for digit in digits}
    for parts in stack.map(lower):
        for digit, part in zip(digits, parts, strict=True):
            low[digit] += part
    codes = [digit << _DIGIT | _place(low[digit], rank)[0] for digit, rank in places]
    values_of_codes: list[float] = np.array(codes, dtype=np.int32).view(np.float32).astype(np.float64).tolist()
    return values_of_codes


def _codes(values: torch.Tensor) -> np.ndarray:
    return magnitude(values.reshape(-1)).numpy()


def _histogram(digits: np.ndarray) -> np.ndarray:
    return np.bincount(digits, minlength=1 << _DIGIT)


def _place(histogram: np.ndarray, rank: int) -> tuple[int, int]:
    """The digit of the element with this rank, and its rank among those with the same digit."""
    upto = np.cumsum(histogram)
    digit = int(np.searchsorted(upto, rank, side="right"))
    return digit, rank - int(upto[digit - 1] if digit else 0)
