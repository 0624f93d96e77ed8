"""Model Breadcrumbs, with the signs elected as in TIES (arXiv:2312.06795, arXiv:2306.01708)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import agreed
from cogen.merging.method import method
from cogen.merging.methods.breadcrumbs import State, bands, masks

if TYPE_CHECKING:
    import torch

    from cogen.merging.method import Block


@method(
    survey=bands,
    adds=True,
    per_expert=("density", "gamma"),
    space={"scale": (0.0, 2.0), "density": (0.05, 1.0), "gamma": (0.0, 0.1)},
    source="arXiv:2312.06795",
)
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

    What is kept of each difference is said in ``breadcrumbs``; the election is that of ``ties``, and ``normalize``
    divides by the sum of the agreeing weights. As mergekit's ``breadcrumbs_ties`` is documented.

    :raises UsageError: a density is not above 0 and at most 1, or an option is not known.
    """
    cuts, factors = state
    parts = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
    divisors = weights if normalize else None
    return agreed(block, masks(block, cuts), parts, divisors=divisors, scale=scale, undecided=undecided)
