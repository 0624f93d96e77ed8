"""Weighted average of the experts (model soups, arXiv:2203.05482)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients


def coefficients(weights: Sequence[float], *, scale: float = 1.0, normalize: bool = True) -> Coefficients:
    """``(1 - s)·base + s·Σ wᵢ Eᵢ / Σ wᵢ``; with the default scale 1 the base plays no part.

    The same as mergekit's ``linear`` at scale 1; without ``normalize`` the sum is not divided. The scale
    interpolates towards the base (WiSE-FT, arXiv:2109.01903).
    """
    total = math.fsum(weights) if normalize else 1.0
    return 1.0 - scale, [scale * weight / total for weight in weights]


linear = by_coefficients(
    "linear", coefficients, base="optional", space={"scale": (0.0, 2.0)}, source="arXiv:2203.05482"
)
