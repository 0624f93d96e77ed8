"""TIES: trim, elect signs, merge what agrees (arXiv:2306.01708)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def ties(
    base: torch.Tensor,
    experts: Sequence[torch.Tensor],
    weights: Sequence[float],
    *,
    scale: float = 1.0,
    density: float = 0.5,
) -> torch.Tensor:
    """``base + s·m`` where m is the weighted mean of the differences whose sign was elected.

    Each difference keeps its ``round(density·n)`` largest entries by magnitude, per tensor; the sign of every
    position is that of the weighted sum; entries of the other sign are left out; the rest is divided by the sum of its
    weights. That is mergekit's variant (trimmed per tensor, signs elected on weighted differences,
    ``normalize: true``); the paper trims over the whole model. All tensors have one shape and the accumulator's dtype.
    """
    import torch

    elected = torch.zeros_like(base)
    kept = []
    for expert, weight in zip(experts, weights, strict=True):
        difference = expert - base
        mask = largest(difference.abs(), density)
        kept.append(mask)
        elected += torch.where(mask, difference * weight, 0.0)
    sign = elected.sign()
    total = torch.zeros_like(base)
    share = torch.zeros_like(base)
    for expert, weight, mask in zip(experts, weights, kept, strict=True):
        agrees = mask & ((expert - base).mul_(weight).sign_() == sign) & (sign != 0)
        total += torch.where(agrees, expert * weight, 0.0)
        share += torch.where(agrees, weight, 0.0)
    # A mean of experts, not base plus a mean of differences: where all agree on one value that value comes out.
    mean = total / torch.where(share == 0, 1.0, share)
    merged = mean if scale == 1.0 else base * (1.0 - scale) + mean * scale
    return torch.where(share == 0, base, merged)


def largest(magnitude: torch.Tensor, density: float) -> torch.Tensor:
    """Mask of exactly ``round(density·n)`` entries: the largest, and among equal ones the first."""
    import torch

    count = round(density * magnitude.numel())
    flat = magnitude.reshape(-1)
    if count >= flat.numel():
        return torch.ones_like(magnitude, dtype=torch.bool)
    if count <= 0:
        return torch.zeros_like(magnitude, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    mask = flat > threshold
    missing = count - int(mask.sum())
    ties_at = (flat == threshold).nonzero().reshape(-1)[:missing]
    mask[ties_at] = True
    return mask.reshape(magnitude.shape)
