"""Choosing between floating-point numbers by their bits.

``torch.where`` and boolean masks branch on every element: on random masks many times slower than the bitwise
operations here. A mask is an integer tensor of -1 (yes) and 0 (no), as wide as the
floating-point type; selecting by bits also keeps NaN and infinities of the other side out, which ``0 * x`` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def integers(dtype: torch.dtype) -> torch.dtype:
    """The signed integer type as wide as a floating-point type."""
    import torch

    return torch.int64 if dtype == torch.float64 else torch.int32


def mask_of(yes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """-1 where ``yes`` is not zero, for numbers of ``dtype``; ``yes`` is boolean or already 0 and 1."""
    return yes.to(integers(dtype)).neg_()


def greater(a: torch.Tensor, b: torch.Tensor | float) -> torch.Tensor:
    """Mask of ``a > b``; NaN is greater than nothing."""
    import torch

    return torch.gt(a, b, out=torch.empty_like(a)).to(integers(a.dtype)).neg_()


def equal(a: torch.Tensor, b: torch.Tensor | float) -> torch.Tensor:
    """Mask of ``a == b``."""
    import torch

    return torch.eq(a, b, out=torch.empty_like(a)).to(integers(a.dtype)).neg_()


def keep(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x`` where the mask is set, 0.0 elsewhere."""
    return (x.view(mask.dtype) & mask).view(x.dtype)


def keep_term(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``x`` where the mask is set, -0.0 elsewhere: the neutral element of addition.

    ``y + -0.0`` has the bits of y, also where y is a zero; ``-0.0 + 0.0`` would lose a sign.
    """
    import torch

    zero = torch.iinfo(mask.dtype).min  # only the sign bit
    return ((x.view(mask.dtype) & mask) | (~mask & zero)).view(x.dtype)


def choose(mask: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a`` where the mask is set, ``b`` elsewhere, bit for bit."""
    left, right = a.view(mask.dtype), b.view(mask.dtype)
    return (((left ^ right) & mask) ^ right).view(a.dtype)


def magnitude(x: torch.Tensor) -> torch.Tensor:
    """``|x|`` rounded to float32, as int32: integers in the same order as the magnitudes; NaN is above infinity."""
    import torch

    return x.to(torch.float32).view(torch.int32) & 0x7FFFFFFF


def at_least(codes: torch.Tensor, threshold: int, dtype: torch.dtype) -> torch.Tensor:
    """Mask of ``codes >= threshold`` for the codes of :func:`magnitude`, as wide as ``dtype``."""
    # The sign of the difference; codes are not negative, so it cannot overflow.
    return (min(threshold - 1, 0x7FFFFFFF) - codes).bitwise_right_shift_(31).to(integers(dtype))
