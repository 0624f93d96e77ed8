"""What the sparsifying methods share: shares and counts, masks of the largest differences, the L1 norm restored."""

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

    from cogen.merging.method import Block, Stack


def shares(name: str, value: float | Sequence[float], count: int) -> list[float]:
    """A parameter that is a share of the elements, as one value an expert.

    :raises UsageError: a value is not above 0 and at most 1.
    """
    found = each(value, count)
    for share in found:
        if not 0.0 < share <= 1.0:
            raise UsageError(f"{name} {share:g} is not a share", hint=f"give a {name} above 0, at most 1")
    return found


def one_of(name: str, value: str, known: Sequence[str]) -> None:
    """:raises UsageError: the value is not one of those known."""
    if value not in known:
        raise UsageError(f"{name} {value!r} is not known", hint=f"give {', '.join(known[:-1])} or {known[-1]}")


def kept(share: float, size: int) -> int:
    """How many of ``size`` elements a share is: rounded down, as in mergekit, peft and the authors' code, but one at
    least, as in mergekit."""
    return max(1, int(share * size))


def largest_of_tensor(stack: Stack, weights: Sequence[float], *, density: float | Sequence[float] = 0.5) -> list[Cut]:
    """For each expert the cut that keeps the share ``density`` of this tensor's largest differences."""
    return _largest([stack], shares("density", density, len(weights)))[0]


def largest_of_model(
    stacks: Sequence[Stack], weights: Sequence[float], *, density: float | Sequence[float] = 0.2
) -> list[list[Cut]]:
    """The same over all tensors of a model together, for each tensor."""
    return _largest(stacks, shares("density", density, len(weights)))


def masks(block: Block, cuts: Sequence[Cut]) -> list[torch.Tensor]:
    """Masks of the differences that the cuts keep."""
    return [cut.mask(difference, block.start) for difference, cut in zip(block.differences, cuts, strict=True)]


def voting(cut: Cut) -> Cut:
    """The same without the elements that are zero: they have no sign."""
    return cut if cut.code else Cut(1, 1 << 62)


def l1_factors(stack: Stack, masks: Callable[[Block], Sequence[torch.Tensor]]) -> list[float]:
    """For each expert what its masked difference has to be multiplied by to have its L1 norm back; 1 if all is lost."""
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
    counts = [kept(density, total) for density in densities]
    return [[voting(cut) for cut in cuts] for cuts in largest(stacks, lambda block: block.differences, counts)]
