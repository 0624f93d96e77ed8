"""TIES: trim, elect signs, merge what agrees (arXiv:2306.01708); per tensor, over the whole model, and as in peft."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import merge_elected
from cogen.merging.kernels.order import Cut
from cogen.merging.kernels.sparse import check_choice, largest_of_model, largest_of_tensor, masks, restore_l1
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

#: For each expert the elements that are kept, and what they are multiplied by.
State = tuple[list[Cut], list[float]]


def trim(
    stack: Stack, weights: Sequence[float], *, density: float | Sequence[float] = 0.5, rescale: str = "none"
) -> State:
    check_choice("rescale", rescale, ("none", "l1"))
    cuts = largest_of_tensor(stack, weights, density=density)
    if rescale == "none":
        return cuts, [1.0] * len(cuts)
    return cuts, restore_l1(stack, lambda block: masks(block, cuts))


#: What the three variants have in common.
_ties = functools.partial(
    method, per_expert=("density",), space={"scale": (0.0, 2.0), "density": (0.05, 1.0)}, source="arXiv:2306.01708"
)


@_ties(survey=trim)
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
    return merge_elected(block, masks(block, cuts), parts, divisors=divisors, scale=scale, undecided=undecided)


@_ties(survey=largest_of_model, whole_model=True)
def ties_global(block: Block, weights: Sequence[float], cuts: list[Cut], *, scale: float = 1.0) -> torch.Tensor:
    """``base + s·m`` where m is the mean of the differences whose sign was elected, without weights in the election.

    Each difference keeps its ``int(density·n)`` largest entries by magnitude out of all n that are merged; the sign of
    a position is that of the plain sum; the entries of that sign are averaged. With equal weights that is the paper
    (with density 0.2, s = 1); other weights count in the average only, and an expert of weight 0 has no vote. Where
    the sum is exactly 0 the base stays, as in the paper's formula; the authors' code takes the sign that most positions
    of the model have.

    :raises UsageError: a density is not above 0 and at most 1.
    """
    plain = [float(weight != 0.0) for weight in weights]
    return merge_elected(block, masks(block, cuts), weights, election_weights=plain, divisors=weights, scale=scale)


@_ties(survey=largest_of_tensor, source="peft merge_utils.ties; arXiv:2306.01708")
def ties_peft(block: Block, weights: Sequence[float], cuts: list[Cut], *, scale: float = 1.0) -> torch.Tensor:
    """``base + s·Σ wᵢ dᵢ / (number of d that agree)``, over the differences whose sign was elected.

    Each difference keeps its ``int(density·n)`` largest entries by magnitude, per tensor (peft keeps none where that
    is 0, here it is one); the sign of a position is that of the plain sum, plus where that is 0 (peft's
    ``majority_sign_method="total"``). peft applies it to the differences that adapters make, here they are any.

    :raises UsageError: a density is not above 0 and at most 1.
    """
    plain = [1.0] * len(cuts)
    found = masks(block, cuts)
    return merge_elected(block, found, weights, election_weights=plain, divisors=plain, scale=scale, undecided="plus")
