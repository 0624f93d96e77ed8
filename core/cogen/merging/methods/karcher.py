"""Karcher mean: the point of the sphere with the least sum of squared arcs to the models."""

from __future__ import annotations

from collections.abc import Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients
from cogen.merging.kernels.sphere import Figure, of_experts, shares_of, spherical_mean


def coefficients(found: Figure, weights: Sequence[float], *, max_iter: int = 100, tol: float = 1e-7) -> Coefficients:
    """``Σ wᵢ|Eᵢ| · m`` where m minimises ``Σ wᵢ·arc(m, uᵢ)²`` over the unit vectors uᵢ of the flattened tensors.

    Found by gradient descent from the normalised weighted mean (Karcher 1977; Afsari, Tron, Vidal 2013 on its
    convergence): average in the tangent space at m, return by the exponential map, until a step is shorter than ``tol``
    radians or after ``max_iter`` steps. A step is known to 1e-8 from inner products, so a smaller ``tol`` is never
    met. Weights are divided by their sum. With equal weights the same as mergekit's ``karcher``, whose defaults
    (10 steps, 1e-5) stop earlier.

    Tensors of zeros count in the length alone. The result is the weighted mean of the tensors where m is not unique or
    not to be found this way: directions that cancel out, one opposite to m, infinities; mergekit starts from the first
    tensor there.

    :raises UsageError: the weights sum to zero.
    """
    shares, _ = shares_of("karcher", weights)
    mean = spherical_mean(found.gram, shares, steps=int(max_iter), tolerance=tol)
    return 0.0, shares if mean is None else mean


karcher = by_coefficients(
    "karcher", coefficients, of_experts, base="unused", source="https://doi.org/10.1002/cpa.3160300502"
)
