"""The one sum that every method ends in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def combine(base: torch.Tensor, experts: Sequence[torch.Tensor], own: float, parts: Sequence[float]) -> torch.Tensor:
    """``own·base + Σ partsᵢ·Eᵢ`` in the tensors' dtype, in the order given.

    Why coefficients and not differences: ``base + (E - base)`` is not E when base is much larger than E,
    ``0·base + 1·E`` is. A coefficient 0 leaves its tensor out, so that infinities in it do no harm.
    Multiplication and addition are separate operations, so no processor fuses them into another rounding.
    """
    import torch

    total = base * own if own != 0.0 else None
    for expert, part in zip(experts, parts, strict=True):
        if part == 0.0:
            continue
        term = expert if part == 1.0 else expert * part
        total = term.clone() if total is None else total.add_(term)
    return torch.zeros_like(base) if total is None else total
