"""exp and log of tensors by additions and multiplications: the same bits on every machine.

A library's exp and log differ in the last bit between processors and versions, which may move an element across a
threshold. These are as accurate (a few units in the last place of float64) and several times slower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: ln 2 in two parts: the first has zeros at the end, so that k·HIGH is exact for every exponent k.
_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_EXP = [1.0 / math.factorial(k) for k in range(14)]
_LOG = [1.0 / (2 * k + 1) for k in range(12)]
#: The bits of the square root of one half; mantissas are taken from there to the square root of two.
_ROOT_HALF = 0x3FE6A09E667F3BCD


def exp(x: torch.Tensor) -> torch.Tensor:
    """``eˣ`` of float64; x is taken to lie between -700 and 700."""
    import torch

    x = x.clamp(-700.0, 700.0)
    k = torch.round(x * (1.0 / math.log(2.0)))
    rest = x - k * _HIGH - k * _LOW  # at most half of ln 2
    power = ((k.to(torch.int64) + 1023) << 52).view(torch.float64)
    return _polynomial(_EXP, rest) * power


def log(x: torch.Tensor) -> torch.Tensor:
    """Natural logarithm of positive normal numbers in float64: ``k·ln 2 + 2 artanh((m - 1)/(m + 1))``, x = 2ᵏ·m."""
    import torch

    bits = x.view(torch.int64)
    k = (bits - _ROOT_HALF) >> 52
    m = (bits - (k << 52)).view(torch.float64)
    s = (m - 1.0) / (m + 1.0)
    k = k.to(torch.float64)
    return k * _HIGH + (k * _LOW + 2.0 * s * _polynomial(_LOG, s * s))


def _polynomial(coefficients: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    """Horner's rule; each multiplication and addition rounds by itself."""
    import torch

    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total.mul_(x).add_(coefficient)
    return total
