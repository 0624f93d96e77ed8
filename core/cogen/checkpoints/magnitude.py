"""Factors so large that what they make of a base cannot be held in float32, found in their bytes, without torch."""

from __future__ import annotations

import math

from cogen.checkpoints.adapter import LoraAdapter
from cogen.checkpoints.safetensors_file import TensorInfo, byte_blocks

#: dtype → bytes an element, mask of the exponent's bits in its last byte, how many steps of the exponent one of that
#: byte's values stands for, the bits of the byte below the exponent, and the exponent's bias (IEEE 754, bfloat16).
_FORMATS: dict[str, tuple[int, int, int, int, int]] = {
    "float64": (8, 0x7F, 16, 0, 1023),
    "float32": (4, 0x7F, 2, 0, 127),
    "bfloat16": (2, 0x7F, 2, 0, 127),
    "float16": (2, 0x7C, 1, 2, 15),
}
#: log2 of what is beyond float32.
_LIMIT = 128


def first_too_large(adapter: LoraAdapter) -> str | None:
    """Name of the first weight whose change ``s·B·A`` may be beyond float32; ``None``: none can be.

    An upper bound by the factors' largest exponents: of an adapter that was trained it is smaller by a factor of 10³⁰.
    """
    for name, (a, b, scale) in sorted(adapter.pairs.items()):
        if scale and log2_bound(a) + log2_bound(b) + math.log2(abs(scale) * a.shape[0]) >= _LIMIT:
            return name
    return None


def log2_bound(info: TensorInfo) -> float:
    """No element is as large as 2 to the power of this; at most a factor of four above the largest of float32."""
    if info.dtype not in _FORMATS:
        return 0.0
    width, mask, steps, below, bias = _FORMATS[info.dtype]
    table = bytes(byte & mask for byte in range(256))
    largest = 0
    for block in byte_blocks(info):
        largest = max(largest, *set(bytes(block[width - 1 :: width]).translate(table)))
    return float(((largest >> below) + 1) * steps - bias)
