"""Base plus a scaled sum of differences (task arithmetic, arXiv:2212.04089)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients


def coefficients(weights: Sequence[float], *, scale: float = 1.0, normalize: bool = False) -> Coefficients:
    """``base + s·Σ wᵢ (Eᵢ - base)``, computed as ``(1 - s·Σ wᵢ)·base + Σ s·wᵢ·Eᵢ``.

    The same as mergekit's ``task_arithmetic`` with ``lambda: s``; with ``normalize`` the weights are divided by
    their sum.
    """
    total = math.fsum(weights) if normalize else 1.0
    return 1.0 - scale * (math.fsum(weights) / total), [scale * weight / total for weight in weights]


task_arithmetic = by_coefficients(
    "task_arithmetic", coefficients, adds=True, space={"scale": (0.0, 2.0)}, source="arXiv:2212.04089"
)
