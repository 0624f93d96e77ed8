"""DELLA: drop by magnitude and chance, elect signs, merge what agrees (arXiv:2406.11617)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.combine import combine
from cogen.merging.kernels.consensus import add_masked, merge_elected
from cogen.merging.kernels.magprune import factors, rescale_weights, survivors
from cogen.merging.method import each, method
from cogen.merging.methods.task_arithmetic import coefficients

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block


#: What the two variants have in common.
_della = functools.partial(
    method,
    survey=factors,
    unit="row",
    per_expert=("density", "epsilon"),
    space={"scale": (0.0, 2.0), "density": (0.2, 0.8), "epsilon": (0.0, 0.2)},
    source="arXiv:2406.11617",
)


@_della()
def della(
    block: Block,
    weights: Sequence[float],
    state: list[float | None],
    *,
    scale: float = 1.0,
    normalize: bool = True,
    undecided: str = "base",
    density: float | Sequence[float] = 0.5,
    epsilon: float | Sequence[float] = 0.15,
    seed: int = 0,
) -> torch.Tensor:
    """``base + s·m``, m the mean (``normalize``) or sum of the surviving differences whose sign was elected.

    A difference survives with the probability p that belongs to its rank by magnitude within its row: from
    ``density - ε`` for the smallest to ``density + ε`` for the largest. Signs are elected as in ``ties``.
    ``rescale="inverse"`` multiplies by each element's own 1/p, as the paper and its code do and mergekit documents;
    ``"l1"`` restores the tensor's L1 norm, what mergekit's code does; ``"none"`` is mergekit's ``rescale: false``. A
    row is a vector along the last axis. At density 1 the same bits as ``ties`` at density 1.

    :raises UsageError: density ± epsilon is not between 0 and 1, or an option is not known.
    """
    found = survivors(block, density, epsilon, seed)
    parts = rescale_weights(weights, found, state)
    divisors = weights if normalize else None
    masks = [mask for mask, _ in found]
    return merge_elected(block, masks, parts, divisors=divisors, scale=scale, undecided=undecided)


@_della(adds=True)
def della_linear(
    block: Block,
    weights: Sequence[float],
    state: list[float | None],
    *,
    scale: float = 1.0,
    normalize: bool = False,
    density: float | Sequence[float] = 0.5,
    epsilon: float | Sequence[float] = 0.15,
    seed: int = 0,
) -> torch.Tensor:
    """``base + s·Σ wᵢ fᵢ maskᵢ (Eᵢ - base)``: differences survive by their rank within the row, see ``della``.

    As mergekit's ``della_linear``, with the paper's factor 1/p (see ``rescale`` in ``della``). At density 1
    nothing is dropped: the same bits as ``task_arithmetic``.

    :raises UsageError: density ± epsilon is not between 0 and 1, or an option is not known.
    """
    own, parts = coefficients(weights, scale=scale, normalize=normalize)
    if min(each(density, len(weights))) >= 1.0:
        return combine(block, own, parts)
    found = survivors(block, density, epsilon, seed)
    return add_masked(block, [mask for mask, _ in found], rescale_weights(parts, found, state))
