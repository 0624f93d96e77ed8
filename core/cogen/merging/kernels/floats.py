"""Floating-point numbers as integers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cogen.merging.kernels.bits import integers

if TYPE_CHECKING:
    import torch

#: The bits of infinity, by a number's width in bytes; of sizes without their sign only those of NaN are above.
INFINITY = {4: 0x7F800000, 8: 0x7FF0000000000000}


def unsigned(dtype: torch.dtype) -> int:
    """All bits of a number of this type but the sign."""
    return (1 << (8 * dtype.itemsize - 1)) - 1


def bits_of(number: float, dtype: torch.dtype) -> int:
    """The bits of a number, rounded to this type, as a signed integer."""
    whole, part = ("<q", "<d") if dtype.itemsize == 8 else ("<i", "<f")
    return int(struct.unpack(whole, struct.pack(part, number))[0])


def floating(dtype: torch.dtype) -> torch.dtype:
    """The floating-point type as wide as an integer type."""
    import torch

    return torch.float64 if dtype == torch.int64 else torch.float32


def nonzero(x: torch.Tensor) -> torch.Tensor:
    """Mask of the numbers that are neither +0 nor -0; NaN is one of them."""
    size = x.view(integers(x.dtype)) & unsigned(x.dtype)
    return size.neg_().bitwise_right_shift_(8 * x.dtype.itemsize - 1)


def keep_(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """:func:`cogen.merging.kernels.bits.keep` in place."""
    x.view(mask.dtype).bitwise_and_(mask)
    return x
