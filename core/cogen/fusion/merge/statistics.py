"""What a survey measures of a tensor: sums, Gram matrices, exact order statistics; the same bits everywhere.

Sums are folded: the upper half is added to the lower one until one number is left. Only element-wise additions, so
neither the width of a processor's vectors nor the number of threads changes a bit; the error grows with the logarithm
of the length. Partial results of the blocks are added in the order of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cogen.fusion.merge.bits import at_least, magnitude

if TYPE_CHECKING:
    import torch

    from cogen.fusion.merge.method import Block, Stack


def folded_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum over the last axis, in float64."""
    import torch

    x = x.to(torch.float64)
    total = x.new_zeros(x.shape[:-1])
    while (length := x.shape[-1]) > 1:
        half = length // 2
        if length % 2:
            total = total + x[..., -1]
        x = x[..., :half] + x[..., half : 2 * half]
    return total + x[..., 0] if x.shape[-1] else total


def gram(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Inner products over the last axis, shape (…, n, n), float64; symmetric by construction."""
    import torch

    wide = [vector.to(torch.float64) for vector in vectors]
    found = wide[0].new_empty((*wide[0].shape[:-1], len(wide), len(wide)))
    for i, left in enumerate(wide):
        for j, right in enumerate(wide[: i + 1]):
            found[..., i, j] = found[..., j, i] = folded_sum(left * right)
    return found


def tensor_gram(stack: Stack, vectors: Callable[[Block], Sequence[torch.Tensor]]) -> torch.Tensor:
    """Inner products over the whole tensor of the vectors that ``vectors`` gives for a block, shape (n, n), float64."""
    import torch

    # As numbers: thousands of small tensors between large ones that come and go would leave the memory in pieces.
    parts = list(stack.map(lambda block: gram(vectors(block)).tolist()))
    if not parts:
        return torch.zeros(len(stack.experts), len(stack.experts), dtype=torch.float64)
    return folded_sum(torch.tensor(parts, dtype=torch.float64).movedim(0, -1))


@dataclass(frozen=True)
class Cut:
    """The largest ``count`` elements by magnitude: all above ``code``, and of the equal ones those before ``position``.

    ``code`` is the integer of :func:`cogen.fusion.merge.bits.magnitude`.
    """

    code: int
    position: int

    def mask(self, x: torch.Tensor, start: int) -> torch.Tensor:
        """Mask of the chosen elements of a flat block ``x`` whose first element has the index ``start``."""
        codes = magnitude(x)
        split = min(max(self.position - start, 0), codes.numel())
        if split == codes.numel():
            return at_least(codes, self.code, x.dtype)
        found = at_least(codes, self.code + 1, x.dtype)
        if split:
            found[:split] = at_least(codes[:split], self.code, x.dtype)
        return found


#: Cuts that keep everything and nothing.
ALL, NONE = Cut(0, 1 << 62), Cut(0x7FFFFFFF, 0)


def largest(
    stacks: Sequence[Stack], vectors: Callable[[Block], Sequence[torch.Tensor]], counts: Sequence[int]
) -> list[list[Cut]]:
    """For each vector i the cut that keeps its ``counts[i]`` largest elements over all ``stacks`` together.

    Exact, by histograms of the magnitude's bits (a radix selection in two digits) instead of sorting: three
    passes and 512 KB a vector, whatever the size. Among equal elements the first ones are kept, in the order of
    the stacks. Returns ``cuts[stack][vector]``. Magnitudes are compared in float32.
    """
    total = sum(stack.numel for stack in stacks)
    cuts = [[ALL if count >= total else NONE for count in counts] for _ in stacks]
    searched = [i for i, count in enumerate(counts) if 0 < count < total]
    if not searched:
        return cuts

    def codes(block: Block) -> list[np.ndarray]:
        found = vectors(block)
        return [magnitude(found[i].reshape(-1)).numpy() for i in searched]

    high = _histograms(stacks, lambda block: [_histogram(found >> 16) for found in codes(block)])
    tops = [_from_top(histogram, counts[i]) for i, histogram in zip(searched, high, strict=True)]

    def lower(block: Block) -> list[np.ndarray]:
        return [
            _histogram(found[(found >> 16) == digit] & 0xFFFF)
            for found, (digit, _) in zip(codes(block), tops, strict=True)
        ]

    thresholds, missing = [], []
    for (digit, left), histogram in zip(tops, _histograms(stacks, lower), strict=True):
        digit_low, left = _from_top(histogram, left)
        thresholds.append(digit << 16 | digit_low)
        missing.append(left if left < histogram[digit_low] else None)

    def equals(block: Block) -> list[int]:
        return [int(np.count_nonzero(f == t)) for f, t in zip(codes(block), thresholds, strict=True)]

    for stack, row in zip(stacks, cuts, strict=True):
        counted = list(stack.map(equals)) if any(m is not None for m in missing) else []
        for k, i in enumerate(searched):
            position = 1 << 62
            if (left := missing[k]) is not None:
                for block, found in zip(stack.blocks(), counted, strict=True):
                    if found[k] > left:
                        same = np.flatnonzero(codes(block)[k] == thresholds[k])
                        position, left = block.start + int(same[left]), 0
                        break
                    left -= found[k]
                missing[k] = left
            row[i] = Cut(thresholds[k], position)
    return cuts


def _histograms(stacks: Sequence[Stack], digits: Callable[[Block], list[np.ndarray]]) -> list[np.ndarray]:
    sums: list[np.ndarray] = []
    for stack in stacks:
        for found in stack.map(digits):
            sums = found if not sums else [own + part for own, part in zip(sums, found, strict=True)]
    return sums


def _histogram(digits: np.ndarray) -> np.ndarray:
    import torch

    return torch.bincount(torch.from_numpy(digits), minlength=1 << 16).numpy()


def _from_top(histogram: np.ndarray, count: int) -> tuple[int, int]:
    """The digit that the ``count``-th largest element has, and how many of its elements are among the largest."""
    above = np.cumsum(histogram[::-1])
    place = int(np.searchsorted(above, count))
    digit = len(histogram) - 1 - place
    return digit, int(count - (above[place - 1] if place else 0))
