"""SCE: select by variance, calculate weights, erase minorities (FuseChat, arXiv:2408.07990)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.bits import keep
from cogen.merging.kernels.consensus import merge_elected
from cogen.merging.kernels.exact import exact_sums
from cogen.merging.kernels.floats import nonzero
from cogen.merging.kernels.order import NONE, Cut, largest
from cogen.merging.kernels.sparse import check_shares
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

#: The positions that are selected, ``None`` for all, and each expert's weight.
State = tuple[Cut | None, list[float]]


def variance(block: Block) -> torch.Tensor:
    """Of the experts at every position, divided by their number; exactly 0 where all are equal."""
    import torch

    first, *others = block.experts
    # Measured from the first expert: a mean of n equal numbers is not always that number, a mean of zeros is 0.
    distances = [other - first for other in others]
    mean = torch.zeros_like(first)
    for distance in distances:
        mean += distance
    mean /= block.count
    total = mean * mean
    for distance in distances:
        total += distance.sub_(mean).square_()
    return total.div_(block.count)


def select(stack: Stack, weights: Sequence[float], *, select_topk: float = 1.0) -> State:
    """The positions, and weights by the mean square of each expert's difference there."""
    (share,) = check_shares("select_topk", select_topk, 1)
    cut = None
    if share < 1.0:
        varied = sum(stack.map(lambda block: int(nonzero(variance(block)).count_nonzero())))
        # Positions at which nothing varies are tied; which of them came first would be chance.
        count = min(int(share * stack.numel), varied)
        cut = largest([stack], lambda block: [variance(block)], [count])[0][0] if count else NONE

    def squares(block: Block) -> list[torch.Tensor]:
        import torch

        chosen = masks(block, cut)
        return [keep(d, mask).to(torch.float64).square_() for d, mask in zip(block.differences, chosen, strict=True)]

    sums = exact_sums(stack, squares)
    found = [weight * size for weight, size in zip(weights, sums, strict=True)] if sums else []
    total = math.fsum(found) if all(map(math.isfinite, found)) else 0.0
    return cut, [size / total for size in found] if total else list(weights)


def masks(block: Block, cut: Cut | None) -> list[torch.Tensor]:
    """For each expert the selected positions where it differs from the base."""
    if cut is None:
        return [nonzero(difference) for difference in block.differences]
    common = cut.mask(variance(block), block.start)
    return [nonzero(difference).bitwise_and_(common) for difference in block.differences]


@method(survey=select, space={"scale": (0.0, 2.0), "select_topk": (0.05, 1.0)}, source="arXiv:2408.07990")
def sce(
    block: Block, weights: Sequence[float], state: State, *, scale: float = 1.0, undecided: str = "base"
) -> torch.Tensor:
    """``base + s·m`` where m is the mean of the differences whose sign was elected, at the positions selected.

    Select: of all positions the share ``select_topk`` with the largest variance, but none without any. Calculate: an
    expert's weight is the mean of the squares of its selected differences in this tensor. Erase: at every position
    the differences whose sign is not that of their plain sum. As in the paper and in mergekit's ``sce`` as
    documented; the weights given multiply the calculated ones (equal weights: the paper). Experts that are all alike
    vary nowhere: below ``select_topk`` 1 they leave the base.

    :raises UsageError: ``select_topk`` is not above 0 and at most 1.
    """
    cut, parts = state
    equal = [1.0] * len(parts)
    found = masks(block, cut)
    return merge_elected(block, found, parts, election_weights=equal, divisors=parts, scale=scale, undecided=undecided)
