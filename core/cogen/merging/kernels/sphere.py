"""Directions and angles, from inner products alone.

What the methods on the sphere make lies in the span of their inputs. So the inputs' Gram matrix is all that they have
to know: a vector is a list of coefficients over the inputs, and the rest is arithmetic on a few Python floats (64
bits), whatever the size of the tensors. Sums are ``math.fsum``: correctly rounded, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cogen.errors import UsageError
from cogen.merging.kernels.statistics import tensor_gram

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

Matrix = Sequence[Sequence[float]]

#: Beyond this cosine two directions count as opposite: of all the arcs between them none stands out from the rounding.
OPPOSITE = -0.9995
#: Below this length a mean of unit vectors has no direction of its own, for the same reason.
BALANCED = 0.01


class Figure(NamedTuple):
    """Inner products of a merge's vectors; ``relative`` where they are differences from the base."""

    gram: Matrix
    relative: bool


def vectors(block: Block) -> list[torch.Tensor]:
    """The differences from the base where there is one, the experts themselves where there is none."""
    return block.experts if block.base is None else block.differences


def of_experts(stack: Stack) -> Figure:
    """The flattened experts, whether or not there is a base."""
    return Figure(_flat_gram(stack, lambda block: block.experts), relative=False)


def of_differences(stack: Stack) -> Figure:
    """The :func:`vectors`, flattened."""
    return Figure(_flat_gram(stack, vectors), relative=stack.base is not None)


def _flat_gram(stack: Stack, found: Callable[[Block], Sequence[torch.Tensor]]) -> Matrix:
    return tensor_gram(stack, lambda block: [vector.reshape(-1) for vector in found(block)]).tolist()


def cosine(gram: Matrix, i: int, j: int) -> float:
    """The cosine of the angle between two vectors, exactly 1 between equal ones; NaN where one has no direction.

    Zero has none, nor has a vector with an infinity in it.
    """
    square = gram[i][i] * gram[j][j]
    if not 0.0 < square < math.inf:
        return math.nan
    # One root of the product, not a product of roots: the root of g·g is g.
    return max(-1.0, min(1.0, gram[i][j] / math.sqrt(square)))


def shares_of(name: str, weights: Sequence[float]) -> tuple[list[float], float]:
    """The weights divided by their sum, and the sum.

    :raises UsageError: the sum is zero.
    """
    total = math.fsum(weights)
    if total == 0.0:
        raise UsageError(f"{name}: the weights sum to zero", hint="give weights with another sum")
    return [weight / total for weight in weights], total


def spherical_mean(gram: Matrix, shares: Sequence[float], steps: int, tolerance: float) -> list[float] | None:
    """Coefficients of ``Σ sᵢ|xᵢ| · m``, where m is the mean direction of the vectors.

    m starts as the normalised weighted mean ``Σ sᵢuᵢ`` of the unit vectors. In each of at most ``steps`` steps the
    logarithm map takes the unit vectors to the tangent space at m, where they are averaged, and the exponential map
    takes the average back: the new m. It is done after a step shorter than ``tolerance`` (radians). Vectors of length
    zero have no direction; their share counts in the length. ``shares`` sum to one.

    ``None`` where there is no such m, or nothing to find: a vector with an infinity, fewer than two directions that
    differ, a mean of nearly no length, a vector nearly opposite to m.
    """
    lengths = [math.sqrt(row[i]) if math.isfinite(row[i]) else math.inf for i, row in enumerate(gram)]
    chosen = [i for i, share in enumerate(shares) if share != 0.0 and lengths[i] > 0.0]
    whole = math.fsum(shares[i] for i in chosen)
    if any(math.isinf(lengths[i]) for i in chosen) or whole == 0.0:
        return None
    cosines = [[cosine(gram, i, j) for j in chosen] for i in chosen]
    if all(value >= 1.0 - 1e-14 for row in cosines for value in row):
        return None
    mean = _unit(cosines, [shares[i] / whole for i in chosen])
    for _ in range(steps):
        if mean is None or (tangent := _tangent(cosines, mean, [shares[i] / whole for i in chosen])) is None:
            return None
        length = math.sqrt(max(0.0, _inner(cosines, tangent, tangent)))
        along = math.sin(length) / length if length else 1.0
        mean = _unit(cosines, [math.cos(length) * m + along * v for m, v in zip(mean, tangent, strict=True)])
        if length < tolerance:
            break
    if mean is None:
        return None
    length = math.fsum(shares[i] * lengths[i] for i in chosen)
    found = [0.0] * len(shares)
    for i, coefficient in zip(chosen, mean, strict=True):
        found[i] = coefficient * length / lengths[i]
    return found


def _inner(cosines: Matrix, a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y * cosines[i][j] for i, x in enumerate(a) for j, y in enumerate(b))


def _unit(cosines: Matrix, a: Sequence[float]) -> list[float] | None:
    square = _inner(cosines, a, a)
    if not square >= BALANCED**2:
        return None
    return [x / math.sqrt(square) for x in a]


def _tangent(cosines: Matrix, mean: Sequence[float], shares: Sequence[float]) -> list[float] | None:
    """``Σ sᵢ log_m(uᵢ)``, where ``log_m(u) = θ/sin θ·(u - cos θ·m)`` and θ is the angle between u and m."""
    factors, drops = [], []
    for row, share in zip(cosines, shares, strict=True):
        near = max(-1.0, min(1.0, math.fsum(c * m for c, m in zip(row, mean, strict=True))))
        if near < OPPOSITE:
            return None
        angle = math.acos(near)
        factors.append(share * (angle / math.sin(angle) if angle else 1.0))
        drops.append(factors[-1] * near)
    drop = math.fsum(drops)
    return [factor - drop * m for factor, m in zip(factors, mean, strict=True)]
