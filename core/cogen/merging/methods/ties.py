"""TIES: trim, elect signs, merge what agrees (arXiv:2306.01708), as mergekit does it: tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import agreed
from cogen.merging.kernels.order import Cut
from cogen.merging.kernels.sparse import l1_factors, largest_of_tensor, masks, one_of
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.method import Block, Stack

#: For each expert the elements that are kept, and what they are multiplied by.
State = tuple[list[Cut], list[float]]


def trimmed(
    stack: Stack, weights: Sequence[float], *, density: float | Sequence[float] = 0.5, rescale: str = "none"
) -> State:
    one_of("rescale", rescale, ("none", "l1"))
    cuts = largest_of_tensor(stack, weights, density=density)
    if rescale == "none":
        return cuts, [1.0] * len(cuts)
    return cuts, l1_factors(stack, lambda block: masks(block, cuts))


@method(
    survey=trimmed,
    per_expert=("density",),
    space={"scale": (0.0, 2.0), "density": (0.05, 1.0)},
    source="arXiv:2306.01708",
)
def ties(
    block: Block,
    weights: Sequence[float],
    state: State,
    *,
    scale: float = 1.0,
    normalize: bool = True,
    undecided: str = "base",
) -> torch.Tensor:
    """``base + s·m`` where m is the weighted mean of the differences whose sign was elected.

    Each difference keeps its ``int(density·n)`` largest entries by magnitude, one at least, per tensor; the sign of
    every position is that of the weighted sum; entries of the other sign are left out; the rest is divided by the sum
    of its weights (``normalize``). The same as mergekit's ``ties`` with ``lambda: s``.

    ``rescale="l1"`` gives a trimmed difference the L1 norm back that it had, mergekit's ``rescale: true``.
    ``undecided="plus"`` takes the positive entries where the weighted sum is exactly 0, as mergekit's code does; the
    paper's formula (sgn 0 = 0) keeps the base.

    :raises UsageError: a density is not above 0 and at most 1, or an option is not known.
    """
    cuts, factors = state
    parts = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
    divisors = weights if normalize else None
    return agreed(block, masks(block, cuts), parts, divisors=divisors, scale=scale, undecided=undecided)
