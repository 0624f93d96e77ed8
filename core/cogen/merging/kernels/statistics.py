"""What a survey measures of a tensor: sums and Gram matrices; the same bits everywhere.

Sums are folded: the upper half is added to the lower one until one number is left. Only element-wise additions, so
neither the width of a processor's vectors nor the number of threads changes a bit; the error grows with the logarithm
of the length. Partial results of the blocks are added in the order of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


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
    """Inner products over the last axis, shape (…, n, n), float64; symmetric by construction.

    Products of float32 are added up in float32 as long as more than 4,096 sums are left, at most six times, then
    in float64. Each of those sums is good to four parts in 10⁷ of its terms' magnitudes; over a tensor that averages
    out, and it takes a third of the time.
    """
    import torch

    pairs = [(i, j) for i in range(len(vectors)) for j in range(i + 1)]
    sums = folded_sum(torch.stack([_halve(vectors[i] * vectors[j]) for i, j in pairs]))
    found = sums.new_empty((*vectors[0].shape[:-1], len(vectors), len(vectors)))
    for (i, j), product in zip(pairs, sums, strict=True):
        found[..., i, j] = found[..., j, i] = product
    return found


def _halve(x: torch.Tensor) -> torch.Tensor:
    """float32 numbers with the same sum, 4,096 of them or few more; anything else as it is."""
    import torch

    while x.dtype == torch.float32 and x.shape[-1] > 4096 and x.shape[-1] % 2 == 0:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x


def tensor_gram(stack: Stack, vectors: Callable[[Block], Sequence[torch.Tensor]]) -> torch.Tensor:
    """Inner products over the whole tensor of the vectors that ``vectors`` gives for a block, shape (n, n), float64."""
    import torch

    # As numbers: thousands of small tensors between large ones that come and go would leave the memory in pieces.
    parts = list(stack.map(lambda block: gram(vectors(block)).tolist()))
    if not parts:
        return torch.zeros(len(stack.experts), len(stack.experts), dtype=torch.float64)
    return folded_sum(torch.tensor(parts, dtype=torch.float64).movedim(0, -1))
