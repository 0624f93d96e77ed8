"""DARE, with the signs elected as in TIES (arXiv:2311.03099, arXiv:2306.01708)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import agreed
from cogen.merging.method import each, method
from cogen.merging.methods.dare_linear import factors, survivors

if TYPE_CHECKING:
    import torch

    from cogen.merging.method import Block


@method(
    survey=factors,
    adds=True,
    per_expert=("density",),
    space={"scale": (0.0, 2.0), "density": (0.1, 1.0)},
    source="arXiv:2311.03099",
)
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
    return agreed(block, masks, parts, divisors=divisors, scale=scale, undecided=undecided)
