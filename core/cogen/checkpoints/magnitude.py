"""Adapters so large that a model with them cannot be held in its type, found in their bytes, without torch."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterator

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
#: What is rounded to infinity. bfloat16 has the range of float32, in which changes are computed.
_BEYOND = {"float16": 65520.0}
_BEYOND_FLOAT32 = 2.0**128
#: Width of an element → code of an unsigned integer of it for ``array``, and its bits without the sign.
_INTEGERS = {2: ("H", 0x7FFF), 4: ("I", 0x7FFFFFFF), 8: ("Q", 0x7FFFFFFFFFFFFFFF)}


def first_too_large(adapter: LoraAdapter, dtype: str = "float32") -> str | None:
    """Name of the first weight that may be beyond ``dtype`` with the adapter; ``None``: none can be by it alone.

    Of factors that is an upper bound, ``s·Σ max|Bₖ|·max|Aₖ|`` over the ranks; of an adapter that was trained it is
    smaller by a factor of 1,000 in float16, and of 10³⁰ in others. Tensors that take a weight's place, biases and the
    magnitudes of DoRA are compared as they are.

    :param dtype: of the base, which the adapted model is held in.
    """
    beyond = _BEYOND.get(dtype, _BEYOND_FLOAT32)
    for name, (a, b, scale) in sorted(adapter.pairs.items()):
        # DoRA brings each row back to its magnitude: its factors alone are held in float32.
        most = _BEYOND_FLOAT32 if name in adapter.magnitudes else beyond
        rough = log2_bound(a) + log2_bound(b) + math.log2(abs(scale) * a.shape[0]) if scale else -math.inf
        if rough >= math.log2(most) and _change(a, b, scale) >= most:
            return name
    for name, info, scale in sorted(_others(adapter), key=lambda other: other[0]):
        rough = log2_bound(info) + math.log2(abs(scale)) if scale else -math.inf
        if rough >= math.log2(beyond) and abs(scale) * max(_maxima(info, 1, rows=True)) >= beyond:
            return name
    return None


def _others(adapter: LoraAdapter) -> Iterator[tuple[str, TensorInfo, float]]:
    """(weight, tensor, scale) of what is no factor."""
    yield from ((name, info, 1.0) for name, info in (*adapter.magnitudes.items(), *adapter.replaced.items()))
    yield from ((name, info, scale) for name, (info, scale) in adapter.added.items())
    yield from ((name, info, 1.0) for name, (_, info) in adapter.rows.items())


def _change(a: TensorInfo, b: TensorInfo, scale: float) -> float:
    """No element of ``scale·B·A`` is larger."""
    rank = a.shape[0]
    maxima = zip(_maxima(b, rank, rows=False), _maxima(a, rank, rows=True), strict=True)
    return abs(scale) * sum(one * other for one, other in maxima)


def _maxima(info: TensorInfo, count: int, *, rows: bool) -> list[float]:
    """The largest magnitude in each of ``count`` rows, or columns, of a tensor of finite numbers."""
    if info.dtype not in _FORMATS:
        return [0.0] * count
    width = _FORMATS[info.dtype][0]
    code, unsigned = _INTEGERS[width]
    with info.file.open("rb") as file:
        file.seek(info.start)
        found = array(code, file.read(info.stop - info.start))
    if sys.byteorder == "big":
        found.byteswap()
    size = len(found) // count
    parts = (found[i * size : (i + 1) * size] if rows else found[i::count] for i in range(count))
    # Without their signs, floating point numbers are ordered as the integers of their bits are.
    return [_number(max((number & unsigned for number in part), default=0), info.dtype) for part in parts]


def _number(bits: int, dtype: str) -> float:
    if dtype == "bfloat16":
        bits, dtype = bits << 16, "float32"
    integer, real = {"float16": ("<H", "<e"), "float32": ("<I", "<f"), "float64": ("<Q", "<d")}[dtype]
    (found,) = struct.unpack(real, struct.pack(integer, bits))
    return float(found)


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
