"""Common parts of the sparsifying methods: densities, masks of the largest differences, rescaling by the L1 norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cogen.errors import UsageError
from cogen.merging.kernels.bits import keep
from cogen.merging.kernels.exact import exact_sums
from cogen.merging.kernels.order import Cut, largest
from cogen.merging.method import each

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def check_shares(name: str, value: float | Sequence[float], count: int) -> list[float]:
    """A parameter that is a fraction of the elements, as one value per expert.

    :raises UsageError: a value is not in (0, 1].
    """
    found = each(value, count)
    for share in found:
        if not 0.0 < share <= 1.0:
            raise UsageError(f"{name} must be above 0 and at most 1 (got {share:g})", hint=f"for example {name} 0.5")
    return found


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """:raises UsageError: an unknown value."""
    if value not in known:
        raise UsageError(f"unknown {name} {value!r}", hint=f"one of {', '.join(known)}")


def kept_count(share: float, size: int) -> int:
    """The number of elements that a density keeps of ``size``: rounded down, as in mergekit, peft and the authors'
    code, but at least one, as in mergekit."""
    return max(1, int(share * size))


def largest_of_tensor(stack: Stack, weights: Sequence[float], *, density: float | Sequence[float] = 0.5) -> list[Cut]:
    """For each expert the cut that keeps the share ``density`` of this tensor's largest differences."""
    return _largest([stack], check_shares("density", density, len(weights)))[0]


def largest_of_model(
    stacks: Sequence[Stack], weights: Sequence[float], *, density: float | Sequence[float] = 0.2
) -> list[list[Cut]]:
    """The same over all tensors of a model together, for each tensor."""
    return _largest(stacks, check_shares("density", density, len(weights)))


def masks(block: Block, cuts: Sequence[Cut]) -> list[torch.Tensor]:
    """Masks of the differences that the cuts keep."""
    return [cut.mask(difference, block.start) for difference, cut in zip(block.differences, cuts, strict=True)]


def without_zeros(cut: Cut) -> Cut:
    """The cut without zeros, which have no sign."""
    return cut if cut.code else Cut(1, 1 << 62)


def restore_l1(stack: Stack, masks: Callable[[Block], Sequence[torch.Tensor]]) -> list[float]:
    """For each expert the factor that restores the L1 norm of its masked difference; 1 where nothing is left."""
    count = len(stack.experts)

    def sizes(block: Block) -> list[torch.Tensor]:
        whole = [difference.abs() for difference in block.differences]
        return [*whole, *(keep(size, mask) for size, mask in zip(whole, masks(block), strict=True))]

    sums = exact_sums(stack, sizes) or [0.0] * 2 * count
    return [
        before / after if after and math.isfinite(before) else 1.0
        for before, after in zip(sums[:count], sums[count:], strict=True)
    ]


def _largest(stacks: Sequence[Stack], densities: Sequence[float]) -> list[list[Cut]]:
    total = sum(stack.numel for stack in stacks)
    counts = [kept_count(density, total) for density in densities]
    return [[without_zeros(cut) for cut in cuts] for cuts in largest(stacks, lambda block: block.differences, counts)]
