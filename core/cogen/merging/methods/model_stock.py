"""Model stock: from the base towards the mean of the experts, as far as they agree (arXiv:2403.19522)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.combine import Coefficients, combine
from cogen.merging.kernels.rows import Rows
from cogen.merging.kernels.sphere import Matrix, cosine, of_differences
from cogen.merging.method import Method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def ratio(gram: Matrix) -> float:
    """How far to go, 0 to 1, from the inner products of N differences: ``t = N·c/(1 + (N - 1)·c)``.

    c is the mean of the cosines of all pairs; a pair with a difference of zero adds 0 to it. Where c is negative the
    experts agree on nothing, the paper's picture has no such case, and its formula would walk away from them: t = 0.
    Where no expert differs from the base, or one holds an infinity, t = 1: their mean.
    """
    count = len(gram)
    squares = [gram[i][i] for i in range(count)]
    if not any(squares) or not all(map(math.isfinite, squares)):
        return 1.0
    found = [cosine(gram, i, j) for i, j in itertools.combinations(range(count), 2)]
    mean = math.fsum(value for value in found if not math.isnan(value)) / len(found)
    return count * mean / (1.0 + (count - 1) * mean) if mean > 0.0 else 0.0


def survey(stack: Stack, weights: Sequence[float], *, filter_wise: bool = False) -> Coefficients | Rows:
    """Numbers for the whole tensor, or that each row has its own."""
    if filter_wise and len(stack.shape) > 1:
        return Rows(stack.shape[-1])
    t = ratio(of_differences(stack).gram)
    return 1.0 - t, [t / len(weights)] * len(weights)


def apply(block: Block, weights: Sequence[float], state: Coefficients | Rows) -> torch.Tensor:
    """``(1 - t)·base + t·mean(Eᵢ)`` with ``t = N·c/(1 + (N - 1)·c)``, c the mean cosine between two differences.

    One t for a tensor (the paper's layer-wise variant), or with ``filter_wise`` one for each row: the vectors along
    the last axis. Weights play no part: the paper takes all experts for samples of one distribution. The same as
    mergekit's ``model_stock`` where c ≥ 0, except that mergekit 0.1.5 takes a product of two lengths below 1e-6 for
    1e-6, which sends short differences to the base; for c < 0 mergekit extrapolates, here the base stays (see
    :func:`ratio`).
    """
    if not isinstance(state, Rows):
        return combine(block, *state)
    found = [ratio(gram) for gram in state.grams(block.differences)]
    own = state.spread([1.0 - t for t in found], block.experts[0])
    part = state.spread([t / block.count for t in found], block.experts[0])
    return combine(block, own, [part] * block.count)


model_stock = Method(
    "model_stock",
    apply,
    survey,
    unit="row",
    experts=(2, None),
    weighted=False,
    source="arXiv:2403.19522",
    __doc__=apply.__doc__,
)
