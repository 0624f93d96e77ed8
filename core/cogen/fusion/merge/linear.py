"""Weighted average of the experts (model soups, arXiv:2203.05482)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def linear(
    base: torch.Tensor, experts: Sequence[torch.Tensor], weights: Sequence[float], *, scale: float = 1.0
) -> torch.Tensor:
    """``(1 - s)·base + s·Σ wᵢ Eᵢ / Σ wᵢ``; with the default scale 1 the base plays no part.

    All tensors have one shape and the accumulator's dtype. The same as mergekit's ``linear`` with
    ``normalize: true`` at scale 1; the scale interpolates towards the base (WiSE-FT, arXiv:2109.01903).
    """
    from cogen.fusion.merge.combine import combine

    total = math.fsum(weights)
    return combine(base, experts, 1.0 - scale, [scale * weight / total for weight in weights])
