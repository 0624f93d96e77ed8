"""Spherical interpolation of any number of models: the barycentre in the tangent space at their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients
from cogen.merging.kernels.sphere import Figure, of_differences, shares_of, spherical_mean


def coefficients(found: Figure, weights: Sequence[float], *, normalize: bool = True) -> Coefficients:
    """``exp_m(Σ wᵢ log_m(uᵢ))`` times the weighted mean of the lengths; of the differences where there is a base.

    uᵢ are the flattened tensors as unit vectors, m is their normalised weighted mean, log and exp are the maps between
    the sphere and its tangent space at m. For two models that is slerp at ``t = w₁/(w₀ + w₁)``, exactly: both lie on
    one great circle with m, where the tangent space is a straight line. :mod:`.karcher` repeats the
    step until m stays where it is.

    This is what mergekit's ``multislerp`` describes. What it computes is m itself: it projects to the tangent space
    orthogonally instead of by the logarithm, and ``Σ wᵢ(uᵢ - (uᵢ·m)m)`` is zero for the mean m.

    Weights are divided by their sum; without ``normalize`` the result is multiplied by it. Tensors of zeros count in
    the length alone. The result is the weighted mean of the tensors where the barycentre is not defined: directions
    that cancel out (mean shorter than 0.01), one opposite to the mean (cosine below -0.9995), infinities.

    :raises UsageError: the weights sum to zero.
    """
    shares, total = shares_of("multislerp", weights)
    factor = 1.0 if normalize else total
    mean = spherical_mean(found.gram, shares, steps=1, tolerance=0.0)
    if mean is None:
        return (1.0 - factor if found.relative else 0.0), [factor * share for share in shares]
    parts = [factor * coefficient for coefficient in mean]
    return (1.0 - math.fsum(parts) if found.relative else 0.0), parts


multislerp = by_coefficients(
    "multislerp",
    coefficients,
    of_differences,
    base="optional",
    source="https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
)
