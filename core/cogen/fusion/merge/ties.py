"""TIES: trim, elect signs, merge what agrees (arXiv:2306.01708)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.errors import UsageError

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

    if not 0 < density <= 1:
        raise UsageError(f"ties: density {density:g} is not a share", hint="give a density above 0, at most 1")
    if scale == 0.0:
        return base.clone()
    whole = math.fsum(weights)
    parts = [weight / whole for weight in weights]  # so that no sum of large numbers overflows
    elected = torch.zeros_like(base)
    votes = []
    for expert, part in zip(experts, parts, strict=True):
        difference = expert - base
        mask = largest(difference.abs(), density)
        votes.append((mask, difference.sign()))
        elected += torch.where(mask, difference * part, 0.0)
    sign = elected.sign()
    # -0.0 is the neutral element of addition: x + -0.0 has the bits of x, also where x is a zero.
    total = torch.full_like(base, -0.0)
    share = torch.zeros_like(base)
    for expert, part, (mask, vote) in zip(experts, parts, votes, strict=True):
        agrees = mask & (vote == sign)
        total += torch.where(agrees, expert * part, -0.0)
        share += agrees.to(base.dtype) * part
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
