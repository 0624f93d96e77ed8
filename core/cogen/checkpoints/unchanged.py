"""Adapters that change nothing: every product of factors is zero, as before the first step of training."""

from __future__ import annotations

from cogen.checkpoints.adapter import LoraAdapter
from cogen.checkpoints.safetensors_file import TensorInfo, byte_blocks

_FLOATS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
#: Little-endian: the last byte of an element holds the sign, and a negative zero is zero.
_UNSIGNED = bytes(byte & 0x7F for byte in range(256))


def changes_nothing(adapter: LoraAdapter) -> bool:
    """Is the adapted model its base? Only plain factors can tell without the base: with DoRA's magnitudes, biases or
    whole tensors the answer is no."""
    if adapter.magnitudes or adapter.added or adapter.replaced or adapter.rows:
        return False
    return all(scale == 0 or _is_zero(b) or _is_zero(a) for a, b, scale in adapter.pairs.values())


def _is_zero(info: TensorInfo) -> bool:
    width = _FLOATS.get(info.dtype)
    if width is None:
        return False
    for block in byte_blocks(info):
        if any(any(bytes(block[place::width])) for place in range(width - 1)):
            return False
        if any(bytes(block[width - 1 :: width]).translate(_UNSIGNED)):
            return False
    return True
