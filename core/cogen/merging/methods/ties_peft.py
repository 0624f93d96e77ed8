"""TIES as in peft's ``merge_utils.ties``: weights multiply, but neither vote nor divide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import agreed
from cogen.merging.kernels.order import Cut
from cogen.merging.kernels.sparse import largest_of_tensor, masks
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.method import Block


@method(
    survey=largest_of_tensor,
    per_expert=("density",),
    space={"scale": (0.0, 2.0), "density": (0.05, 1.0)},
    source="peft merge_utils.ties; arXiv:2306.01708",
)
def ties_peft(block: Block, weights: Sequence[float], cuts: list[Cut], *, scale: float = 1.0) -> torch.Tensor:
    """``base + s·Σ wᵢ dᵢ / (number of d that agree)``, over the differences whose sign was elected.

    Each difference keeps its ``int(density·n)`` largest entries by magnitude, per tensor (peft keeps none where that
    is 0, here it is one); the sign of a position is that of the plain sum, plus where that is 0 (peft's
    ``majority_sign_method="total"``). peft applies it to the differences that adapters make, here they are any.

    :raises UsageError: a density is not above 0 and at most 1.
    """
    plain = [1.0] * len(cuts)
    found = masks(block, cuts)
    return agreed(block, found, weights, ballots=plain, divisors=plain, scale=scale, undecided="plus")
