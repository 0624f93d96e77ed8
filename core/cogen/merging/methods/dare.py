"""DARE: drop differences at random and rescale the rest (arXiv:2311.03099); added up, or with an election of signs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.combine import combine
from cogen.merging.kernels.consensus import add_masked, merge_elected
from cogen.merging.kernels.floats import nonzero
from cogen.merging.kernels.random import bernoulli
from cogen.merging.kernels.sparse import check_choice, check_shares, restore_l1
from cogen.merging.method import each, method
from cogen.merging.methods.task_arithmetic import coefficients

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def factors(
    stack: Stack,
    weights: Sequence[float],
    *,
    density: float | Sequence[float] = 0.5,
    rescale: str = "inverse",
    seed: int = 0,
) -> list[float]:
    """What each expert's surviving differences are multiplied by."""
    check_choice("rescale", rescale, ("inverse", "l1", "none"))
    densities = check_shares("density", density, len(weights))
    if rescale == "l1":
        return restore_l1(stack, lambda block: survivors(block, densities, seed))
    return [1.0 / share if rescale == "inverse" else 1.0 for share in densities]


def survivors(block: Block, densities: Sequence[float], seed: int) -> list[torch.Tensor]:
    """Masks of the differences that are not dropped; each is kept with its expert's density, whatever the others are.

    Differences that are zero have nothing to drop or keep, and are left out.
    """
    found = []
    for difference, density, key in zip(block.differences, densities, block.keys, strict=True):
        mask = nonzero(difference)
        if density < 1.0:
            drawn = bernoulli(density, int(seed), key, block.name, block.start, block.stop)
            mask &= drawn.view(mask.shape).to(mask.dtype)
        found.append(mask)
    return found


#: What the two variants have in common.
_dare = functools.partial(
    method,
    survey=factors,
    adds=True,
    per_expert=("density",),
    space={"scale": (0.0, 2.0), "density": (0.1, 1.0)},
    source="arXiv:2311.03099",
)


@_dare()
def dare_linear(
    block: Block,
    weights: Sequence[float],
    state: list[float],
    *,
    scale: float = 1.0,
    normalize: bool = False,
    density: float | Sequence[float] = 0.5,
    seed: int = 0,
) -> torch.Tensor:
    """``base + s·Σ wᵢ fᵢ maskᵢ (Eᵢ - base)``: each difference survives with probability ``density``, p.

    ``rescale="inverse"``: f = 1/p, so that the expected value is task arithmetic's; the paper, and what mergekit
    documents. ``"l1"``: f restores the tensor's L1 norm, what mergekit's code does. ``"none"``: f = 1, mergekit's
    ``rescale: false``. At density 1 the same bits as ``task_arithmetic``. With ``normalize`` the weights are
    divided by their sum.

    The random numbers depend on the seed, the expert's key, the tensor's name and the element's place in it only.

    :raises UsageError: a density is not above 0 and at most 1, or an option is not known.
    """
    densities = each(density, len(weights))
    own, parts = coefficients(weights, scale=scale, normalize=normalize)
    if min(densities) >= 1.0:
        return combine(block, own, parts)
    parts = [part * factor for part, factor in zip(parts, state, strict=True)]
    return add_masked(block, survivors(block, densities, seed), parts)


@_dare()
def dare_ties(
    block: Block,
    weights: Sequence[float],
    state: list[float],
    *,
    scale: float = 1.0,
    normalize: bool = False,
    undecided: str = "base",
    density: float | Sequence[float] = 0.5,
    seed: int = 0,
) -> torch.Tensor:
    """``base + s·Σ wᵢ fᵢ maskᵢ (Eᵢ - base)`` over the differences whose sign was elected.

    Differences survive and are rescaled as in ``dare_linear``; then the sign of every position is that of their
    weighted sum, and those of the other sign are left out, as in ``ties``. As mergekit's ``dare_ties``, with the
    paper's factor 1/p (see ``rescale`` there); ``normalize`` divides by the sum of the agreeing weights. At density 1
    the same bits as ``ties`` at density 1.

    :raises UsageError: a density is not above 0 and at most 1, or an option is not known.
    """
    masks = survivors(block, each(density, len(weights)), seed)
    parts = [weight * factor for weight, factor in zip(weights, state, strict=True)]
    divisors = weights if normalize else None
    return merge_elected(block, masks, parts, divisors=divisors, scale=scale, undecided=undecided)
