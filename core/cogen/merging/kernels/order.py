"""The largest elements of a tensor or a model, exactly, without sorting it.

A radix selection: a histogram of the upper half of the magnitudes' bits says which of its bins holds the k-th largest;
what lies in that bin, mostly a hundredth of all elements, is looked at closely. Two passes where the bin fits into
memory, else three passes and one more histogram. Magnitudes are compared in float32. The result is exact, so it
depends on nothing but the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cogen.merging.kernels.bits import at_least, magnitude

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

#: Elements of all bins together that may be held in memory, at 12 bytes each.
HELD = 1 << 21
_FOREVER = 1 << 62
_HIGH, _LOW = 1 << 15, 1 << 16


@dataclass(frozen=True)
class Cut:
    """The largest elements by magnitude: all above ``code``, and of the equal ones those before ``position``.

    ``code`` is the integer of :func:`cogen.merging.kernels.bits.magnitude`.
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
ALL, NONE = Cut(0, _FOREVER), Cut(0x7FFFFFFF, 0)


def largest(
    stacks: Sequence[Stack], vectors: Callable[[Block], Sequence[torch.Tensor]], counts: Sequence[int]
) -> list[list[Cut]]:
    """For each vector i the cut that keeps its ``counts[i]`` largest elements over all ``stacks`` together.

    Among equal elements the first ones are kept, in the order of the stacks. Returns ``cuts[stack][vector]``.
    """
    total = sum(stack.numel for stack in stacks)
    cuts = [[ALL if count >= total else NONE for count in counts] for _ in stacks]
    searched = [i for i, count in enumerate(counts) if 0 < count < total]
    if not searched:
        return cuts

    def codes(block: Block) -> list[np.ndarray]:
        found = vectors(block)
        return [magnitude(found[i].reshape(-1)).numpy() for i in searched]

    high = _histograms(stacks, lambda block: [_histogram(found >> 16, _HIGH) for found in codes(block)])
    tops = [_from_top(histogram, counts[i]) for i, histogram in zip(searched, high, strict=True)]
    size = sum(int(histogram[digit]) for histogram, (digit, _) in zip(high, tops, strict=True))
    find = _among_members if size <= HELD else _by_histogram
    for row, found in zip(cuts, find(stacks, codes, tops), strict=True):
        for i, cut in zip(searched, found, strict=True):
            row[i] = cut
    return cuts


def _among_members(
    stacks: Sequence[Stack], codes: Callable[[Block], list[np.ndarray]], tops: Sequence[tuple[int, int]]
) -> list[list[Cut]]:
    """One more pass: the elements of each bin and their places are collected, and selected from in memory."""

    def members(block: Block) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for own, (digit, _) in zip(codes(block), tops, strict=True):
            places = np.flatnonzero((own >> 16) == digit)
            found.append((own[places], places + block.start))
        return found

    collected = [list(stack.map(members)) for stack in stacks]
    cuts: list[list[Cut]] = [[] for _ in stacks]
    for k, (_, wanted) in enumerate(tops):
        own = [np.concatenate([part[k][0] for part in parts] or [np.empty(0, np.int32)]) for parts in collected]
        low, left = _from_top(_histogram(np.concatenate(own) & 0xFFFF, _LOW), wanted)
        code = tops[k][0] << 16 | low
        for row, parts, held in zip(cuts, collected, own, strict=True):
            equal = np.flatnonzero(held == code)
            position = _FOREVER
            if len(equal) > left:
                position = int(np.concatenate([part[k][1] for part in parts])[equal[left]])
            left -= min(left, len(equal))
            row.append(Cut(code, position))
    return cuts


def _by_histogram(
    stacks: Sequence[Stack], codes: Callable[[Block], list[np.ndarray]], tops: Sequence[tuple[int, int]]
) -> list[list[Cut]]:
    """Two more passes, for bins that are too full to be held: where very many magnitudes are almost equal."""

    def lower(block: Block) -> list[np.ndarray]:
        return [
            _histogram(found[(found >> 16) == digit] & 0xFFFF, _LOW)
            for found, (digit, _) in zip(codes(block), tops, strict=True)
        ]

    thresholds, missing = [], []
    for (digit, wanted), histogram in zip(tops, _histograms(stacks, lower), strict=True):
        low, left = _from_top(histogram, wanted)
        thresholds.append(digit << 16 | low)
        missing.append(left)

    def equals(block: Block) -> list[int]:
        return [int(np.count_nonzero(found == t)) for found, t in zip(codes(block), thresholds, strict=True)]

    cuts = []
    for stack in stacks:
        counted, row = list(stack.map(equals)), []
        for k, threshold in enumerate(thresholds):
            position = _FOREVER
            for block, found in zip(stack.blocks(), counted, strict=True):
                if found[k] > missing[k]:
                    equal = np.flatnonzero(codes(block)[k] == threshold)
                    position, missing[k] = block.start + int(equal[missing[k]]), 0
                    break
                missing[k] -= found[k]
            row.append(Cut(threshold, position))
        cuts.append(row)
    return cuts


def _histograms(stacks: Sequence[Stack], digits: Callable[[Block], list[np.ndarray]]) -> list[np.ndarray]:
    sums: list[np.ndarray] = []
    for stack in stacks:
        for found in stack.map(digits):
            if not sums:
                sums = found
            else:
                for own, part in zip(sums, found, strict=True):
                    own += part
    return sums


def _histogram(digits: np.ndarray, bins: int) -> np.ndarray:
    import torch

    return torch.bincount(torch.from_numpy(digits), minlength=bins).numpy()


def _from_top(histogram: np.ndarray, count: int) -> tuple[int, int]:
    """The digit that the ``count``-th largest element has, and how many of its elements are among the largest."""
    above = np.cumsum(histogram[::-1])
    place = int(np.searchsorted(above, count))
    digit = len(histogram) - 1 - place
    return digit, int(count - (above[place - 1] if place else 0))
