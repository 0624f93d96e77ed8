"""A teacher's likeliest tokens in few bytes: about 260 a row at k = 128 of 262,144 tokens.

Measured on 2,048 rows of Gemma 3 270M (Q4_K_M) reading English, in texts of 512 rows: 110 bytes for the gaps' lower
plane, 44 for the two upper ones, 102 for the codes, 4 for the ends. Short texts take more: 266 at 64 rows, 279 at 16.

Ids are exact: sorted, their gaps in three planes of bytes, of which the upper two hardly vary. Log-probabilities are
kept in eight bits on a square-root scale between the row's largest and smallest, both of which are float16: fine where
the mass is, coarse in the tail. The planes are compressed by zlib, a text at a time: who reads texts at random unpacks
those alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

_LEVELS = 255
_EFFORT = 6


def pack(ids: np.ndarray, logprobs: np.ndarray) -> dict[str, np.ndarray]:
    """
    :param ids, logprobs: shape (r, k), a row in any order; ids differ within a row.
    :returns: arrays of bytes for :func:`unpack`.
    """
    order = ids.argsort(1)
    rising = np.take_along_axis(ids.astype(np.int64), order, 1)
    gaps = np.diff(rising, axis=1, prepend=0).astype(np.uint32)
    values = np.take_along_axis(logprobs.astype(np.float32), order, 1)
    high = values.max(1, keepdims=True).astype(np.float16)
    low = values.min(1, keepdims=True).astype(np.float16)
    span = np.maximum(high.astype(np.float32) - low.astype(np.float32), 1e-6)
    codes = np.rint(_LEVELS * np.sqrt(np.clip((high - values) / span, 0, 1))).astype(np.uint8)
    planes = {
        "gaps0": (gaps & 0xFF).astype(np.uint8),
        "gaps1": (gaps >> 8 & 0xFF).astype(np.uint8),
        "gaps2": (gaps >> 16 & 0xFF).astype(np.uint8),
        "codes": codes,
        "bounds": np.concatenate([high, low], 1).view(np.uint8),
    }
    return {
        name: np.frombuffer(zlib.compress(np.ascontiguousarray(plane).tobytes(), _EFFORT), dtype=np.uint8)
        for name, plane in planes.items()
    }


def unpack(packed: Mapping[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids, int32, and log-probabilities, float32, shape (r, k), the likeliest first.

    Off by at most ``span · (√x / 255 + 1 / 510²)`` where x is how far down the row's span an entry lies, 0 to 1; and by
    the rounding of the row's ends to float16.
    """
    planes = {name: np.frombuffer(zlib.decompress(plane.tobytes()), dtype=np.uint8) for name, plane in packed.items()}
    shape = (-1, k)
    gaps = sum(planes[f"gaps{n}"].reshape(shape).astype(np.int64) << 8 * n for n in range(3))
    ids = np.cumsum(gaps, axis=1).astype(np.int32)
    bounds = planes["bounds"].view(np.float16).reshape(-1, 2).astype(np.float32)
    high, low = bounds[:, :1], bounds[:, 1:]
    span = np.maximum(high - low, 1e-6)
    values = high - span * (planes["codes"].reshape(shape).astype(np.float32) / _LEVELS) ** 2
    order = (-values).argsort(1, kind="stable")
    return np.take_along_axis(ids, order, 1), np.take_along_axis(values, order, 1)
