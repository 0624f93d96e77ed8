"""Model Breadcrumbs: without the largest and without the smallest differences (arXiv:2312.06795)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.errors import UsageError
from cogen.merging.kernels.combine import combine
from cogen.merging.kernels.consensus import add_masked, merge_elected
from cogen.merging.kernels.order import Cut, largest
from cogen.merging.kernels.sparse import check_choice, check_shares, kept_count, restore_l1, without_zeros
from cogen.merging.method import each, method
from cogen.merging.methods.task_arithmetic import coefficients

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

#: For each expert the cuts above and below what is kept, and what that is multiplied by.
State = tuple[list[tuple[Cut, Cut]], list[float]]


def bands(
    stack: Stack,
    weights: Sequence[float],
    *,
    density: float | Sequence[float] = 0.9,
    gamma: float | Sequence[float] = 0.01,
    rescale: str = "none",
) -> State:
    """The differences between the ``gamma·n`` largest, which are dropped, and the smallest; ``density·n`` of them."""
    check_choice("rescale", rescale, ("none", "l1"))
    counts = []
    for share, top in zip(check_shares("density", density, len(weights)), each(gamma, len(weights)), strict=True):
        if not 0.0 <= top <= 1.0:
            raise UsageError(f"gamma must be between 0 and 1 (got {top:g})", hint="the default is 0.01")
        target = kept_count(share, stack.numel)
        # As many as gamma says, unless fewer have to go for the density.
        dropped = min(int(top * stack.numel), max(stack.numel - target, 0))
        counts += [dropped, dropped + target]
    cuts = largest([stack], lambda block: [d for d in block.differences for _ in range(2)], counts)[0]
    found = [(upper, without_zeros(lower)) for upper, lower in zip(cuts[::2], cuts[1::2], strict=True)]
    if rescale == "none":
        return found, [1.0] * len(found)
    return found, restore_l1(stack, lambda block: masks(block, found))


def masks(block: Block, cuts: Sequence[tuple[Cut, Cut]]) -> list[torch.Tensor]:
    """Masks of the differences between the two cuts."""
    return [
        lower.mask(difference, block.start).bitwise_and_(~upper.mask(difference, block.start))
        for difference, (upper, lower) in zip(block.differences, cuts, strict=True)
    ]


#: What the two variants have in common.
_breadcrumbs = functools.partial(
    method,
    survey=bands,
    adds=True,
    per_expert=("density", "gamma"),
    space={"scale": (0.0, 2.0), "density": (0.05, 1.0), "gamma": (0.0, 0.1)},
    source="arXiv:2312.06795",
)


@_breadcrumbs()
def breadcrumbs(
    block: Block,
    weights: Sequence[float],
    state: State,
    *,
    scale: float = 1.0,
    normalize: bool = False,
    density: float | Sequence[float] = 0.9,
) -> torch.Tensor:
    """``base + s·Σ wᵢ maskᵢ (Eᵢ - base)``: of each difference, per tensor, the middle by magnitude.

    The ``int(gamma·n)`` largest entries are dropped, and as many of the smallest as leave ``int(density·n)``, one at
    least; where gamma would leave fewer, fewer of the largest are dropped. That is how mergekit's ``breadcrumbs`` is
    documented; the paper's β and γ are 1 - density - gamma and 1 - gamma. ``rescale="l1"`` gives what is left the
    L1 norm of the whole, mergekit's ``rescale: true``. At density 1 the same bits as ``task_arithmetic``.

    :raises UsageError: a density is not above 0 and at most 1, or an option is not known.
    """
    own, parts = coefficients(weights, scale=scale, normalize=normalize)
    if min(each(density, len(weights))) >= 1.0:
        return combine(block, own, parts)
    cuts, factors = state
    return add_masked(block, masks(block, cuts), [part * factor for part, factor in zip(parts, factors, strict=True)])


@_breadcrumbs()
def breadcrumbs_ties(
    block: Block,
    weights: Sequence[float],
    state: State,
    *,
    scale: float = 1.0,
    normalize: bool = False,
    undecided: str = "base",
) -> torch.Tensor:
    """``base + s·Σ wᵢ maskᵢ (Eᵢ - base)`` over the differences whose sign was elected.

    What is kept of each difference is described in ``breadcrumbs``; the election is that of ``ties``, and ``normalize``
    divides by the sum of the agreeing weights. As mergekit's ``breadcrumbs_ties`` is documented.

    :raises UsageError: a density is not above 0 and at most 1, or an option is not known.
    """
    cuts, factors = state
    parts = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
    divisors = weights if normalize else None
    return merge_elected(block, masks(block, cuts), parts, divisors=divisors, scale=scale, undecided=undecided)
