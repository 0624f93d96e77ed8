"""TIES as published (arXiv:2306.01708): trimmed over the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import agreed
from cogen.merging.kernels.order import Cut
from cogen.merging.kernels.sparse import largest_of_model, masks
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.method import Block


@method(
    survey=largest_of_model,
    whole_model=True,
    per_expert=("density",),
    space={"scale": (0.0, 2.0), "density": (0.05, 1.0)},
    source="arXiv:2306.01708",
)
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
    return agreed(block, masks(block, cuts), weights, ballots=plain, divisors=weights, scale=scale)
