"""Spherical linear interpolation of two models (Shoemake, "Animating rotation with quaternion curves", 1985)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients
from cogen.merging.kernels.sphere import Figure, cosine, of_experts

#: Below this value of ``sin² θ`` the arc is replaced by the chord: it is what rounding leaves of 0.
PARALLEL = 1e-16


def coefficients(found: Figure, weights: Sequence[float], *, t: float) -> Coefficients:
    """``sin((1 - t)θ)/sin θ·E₀ + sin(tθ)/sin θ·E₁`` with the angle θ between the two flattened tensors.

    t = 0 is the first expert, t = 1 the second; beyond that it goes on along the circle. Only the angle is taken of the
    normalised vectors; what is interpolated are the vectors themselves, as in mergekit's ``slerp``. Where the two are
    parallel, opposite (``sin² θ ≤ 1e-16``), or a tensor is zero or holds an infinity and so has no direction, the
    result is ``(1 - t)·E₀ + t·E₁``. (mergekit does so from ``|cos θ| > 0.9995`` on, where almost all fine-tuned models
    are, and takes a vector shorter than 1e-8 to be orthogonal to everything.)
    Weights play no part.
    """
    near = cosine(found.gram, 0, 1)
    if not 1.0 - near * near > PARALLEL:  # NaN too
        return 0.0, [1.0 - t, t]
    angle = math.acos(near)
    return 0.0, [math.sin((1.0 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]


slerp = by_coefficients(
    "slerp",
    coefficients,
    of_experts,
    base="unused",
    experts=(2, 2),
    ordered=True,
    space={"t": (0.0, 1.0)},
    weighted=False,
    source="https://doi.org/10.1145/325165.325242",
)
