"""Random numbers that depend on what they are for, and on nothing else.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in numpy's form: a counter-based
generator, so element i of a tensor gets the same number whatever block, thread or order it is reached in.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: 32-bit words that one step of the counter gives.
_WORDS = 8


def words(seed: int, key: str, name: str, start: int, stop: int) -> torch.Tensor:
    """32 random bits for each of the elements [start, stop) of tensor ``name`` of the model ``key``, as int32."""
    import numpy as np
    import torch

    text = f"{seed}\0{key}\0{name}".encode()
    generator = np.random.Philox(key=int.from_bytes(hashlib.sha256(text).digest()[:16], "little"))
    skipped = start // _WORDS
    generator.advance(skipped)
    first = skipped * _WORDS
    raw = generator.random_raw(-(-(stop - first) // 2))
    found = np.asarray(raw, dtype="<u8").view("<i4")[start - first : stop - first]
    return torch.from_numpy(found)


def bernoulli(probability: float, seed: int, key: str, name: str, start: int, stop: int) -> torch.Tensor:
    """Mask (int32, -1 with the given probability) for the elements [start, stop).

    A word is compared with ``round(p·2³²)``: the probability is met to 2⁻³³.
    """
    import torch

    limit = round(probability * 2**32)
    found = words(seed, key, name, start, stop)
    if limit >= 2**32:
        return torch.full_like(found, -1)
    if limit <= 0:
        return torch.zeros_like(found)
    # Words are spread evenly over [-2³¹, 2³¹), so a comparison of signed numbers serves.
    return below(found, limit - 2**31)


def below(found: torch.Tensor, limit: int | torch.Tensor) -> torch.Tensor:
    """Mask (int32, -1 or 0) of ``found < limit``."""
    import torch

    return torch.lt(found, limit, out=torch.empty_like(found)).neg_()
