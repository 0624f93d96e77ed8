"""Base plus a scaled sum of differences (task arithmetic, arXiv:2212.04089)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def task_arithmetic(
    base: torch.Tensor, experts: Sequence[torch.Tensor], weights: Sequence[float], *, scale: float = 1.0
) -> torch.Tensor:
    """``base + s·Σ wᵢ (Eᵢ - base)``, computed as ``(1 - s·Σ wᵢ)·base + Σ s·wᵢ·Eᵢ``.

    All tensors have one shape and the accumulator's dtype. The same as mergekit's ``task_arithmetic``
    with ``normalize: false`` and ``lambda: s``.
    """
    from cogen.fusion.merge.combine import combine

    return combine(base, experts, 1.0 - scale * math.fsum(weights), [scale * weight for weight in weights])
