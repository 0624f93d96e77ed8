"""Llama 3's scaling of rotary angles, found again from the factors that llama.cpp's converter writes of it.

The converter replaces the four numbers of ``config.json`` by one factor for each frequency, in a tensor of its own.
transformers wants the numbers: those are looked for that give exactly these factors.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogen.checkpoints.gguf_header import GgufError, GgufTensor

#: Name of the tensor.
FREQUENCIES = "rope_freqs.weight"
#: Both sides compute in single precision, in their own order.
_TOLERANCE = 2e-6


def llama3_scaling(path: Path, tensor: GgufTensor, theta: float, width: int, context: int) -> dict[str, Any]:
    """``rope_scaling`` of transformers whose angles are those of a file.

    :param theta: base of the angles, ``width`` of a head. :param context: the longest, a hint at the original one.
    :raises GgufError: no numbers of Llama 3's kind give these factors.
    """
    if tensor.kind != "F32" or math.prod(tensor.shape) != width // 2:
        raise GgufError(f"{FREQUENCIES} is {tensor.kind} of shape {tensor.shape}, not one number for each frequency")
    with path.open("rb") as file:
        file.seek(tensor.start)
        found = struct.unpack(f"<{width // 2}f", file.read(tensor.stop - tensor.start))
    factor = max(found)
    lengths = [theta ** (2 * index / width) * 2 * math.pi for index in range(width // 2)]
    for original, low, high in _candidates(context, factor):
        factors = _factors(lengths, factor, low, high, original)
        if all(math.isclose(one, other, rel_tol=_TOLERANCE) for one, other in zip(found, factors, strict=True)):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    raise GgufError(f"{FREQUENCIES} does not hold the factors of a scaling of Llama 3's kind")


def _candidates(context: int, factor: float) -> Iterator[tuple[int, float, float]]:
    """Original context, low and high frequency factor: those of Llama 3 first."""
    lengths = dict.fromkeys([8192, round(context / factor) if factor > 0 else 8192, *(1 << n for n in range(3, 21))])
    bounds = [(1.0, 4.0), *itertools.product((1.0, 2.0, 4.0), (2.0, 4.0, 8.0, 16.0, 32.0))]
    return ((length, low, high) for (low, high), length in itertools.product(bounds, lengths) if low < high and length)


def _factors(lengths: list[float], factor: float, low: float, high: float, original: int) -> list[float]:
    """By wavelength, as convert_hf_to_gguf.py writes them and transformers' ``llama3`` applies them."""
    found = []
    for length in lengths:
        if length < original / high:
            found.append(1.0)
        elif length > original / low:
            found.append(factor)
        else:
            smooth = (original / length - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return found
