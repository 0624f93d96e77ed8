"""Spherical interpolation of two models, or of their differences from a base, by weights; of all at once or by rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.errors import UsageError
from cogen.merging.kernels.combine import Coefficients, combine
from cogen.merging.kernels.rows import Rows, factor
from cogen.merging.kernels.sphere import Matrix, cosine, of_differences, shares_of, vectors
from cogen.merging.kernels.statistics import gram
from cogen.merging.method import Method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def arc(products: Matrix, shares: Sequence[float], relative: bool) -> tuple[float, float, float]:
    """What multiplies the base and the two experts, for one pair of vectors."""
    near = cosine(products, 0, 1)
    if not 1.0 - near * near > 1e-16:  # NaN too
        return 0.0, shares[0], shares[1]
    angle = math.acos(near)
    first, second = (math.sin(share * angle) / math.sin(angle) for share in shares)
    return 1.0 - math.fsum((first, second)) if relative else 0.0, first, second


def survey(
    stack: Stack, weights: Sequence[float], *, flatten: bool = True, row_wise: bool = False
) -> Coefficients | Rows:
    """Numbers for the whole tensor, vectors of one number a column, or that each row has its own."""
    import torch

    if flatten and row_wise:
        raise UsageError("nuslerp: row_wise has no effect with flatten", hint="set flatten to false")
    shares, _ = shares_of("nuslerp", weights)
    relative = stack.base is not None
    if flatten or len(stack.shape) < 2 or not stack.numel:  # a vector is one row and one column
        own, *parts = arc(of_differences(stack).gram, shares, relative)
        return own, parts
    if row_wise:
        return Rows(stack.shape[-1])
    total = torch.zeros(stack.columns, 2, 2, dtype=torch.float64)
    for part in stack.map(lambda block: gram([vector.T for vector in vectors(block)])):
        total += part
    arcs = [arc(products, shares, relative) for products in total.tolist()]
    base, first, second = (factor(values, stack.dtype) for values in zip(*arcs, strict=True))
    return base, [first, second]


def apply(block: Block, weights: Sequence[float], state: Coefficients | Rows) -> torch.Tensor:
    """``sin(s₀θ)/sin θ·E₀ + sin(s₁θ)/sin θ·E₁`` with ``sᵢ = wᵢ/(w₀ + w₁)``, of the differences where there is a base.

    θ is the angle between the flattened tensors; without ``flatten`` every column ``W[…, j]`` is interpolated by
    itself, or with ``row_wise`` every row (the vectors along the last axis). The vectors themselves are interpolated,
    not unit vectors, as in :mod:`.slerp`; parallel and opposite ones (``1 - cos²θ ≤ 1e-16``), zeros
    and those with an infinity linearly.

    These are mergekit's documented options. In mergekit 0.1.5 ``nuslerp_row_wise`` does the opposite of what is
    documented: true takes columns, false rows.

    :raises UsageError: the weights sum to zero, or ``row_wise`` together with ``flatten``.
    """
    if not isinstance(state, Rows):
        return combine(block, *state)
    shares, _ = shares_of("nuslerp", weights)
    found = [arc(products, shares, block.base is not None) for products in state.grams(vectors(block))]
    own, *parts = (state.spread(values, block.experts[0]) for values in zip(*found, strict=True))
    return combine(block, own, parts)


nuslerp = Method(
    "nuslerp",
    apply,
    survey,
    unit="row",
    base="optional",
    experts=(2, 2),
    ordered=True,
    source="https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md#nuslerp-nuslerp",
    __doc__=apply.__doc__,
)
