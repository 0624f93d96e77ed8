"""Differences of two models on the same documents, averaged over seeds, with a bootstrap over documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Pairs = Sequence[tuple[float, float]]


def difference(one: Sequence[Pairs], other: Sequence[Pairs], resamples: int = 4000) -> dict[str, Any]:
    """Bits per byte of ``one`` less that of ``other``: below zero, ``one`` is better.

    :param one, other: of every seed, (bits, bytes) of every document.
    :returns: mean over seeds, its 95 % interval, and each seed's own difference.
    """
    size = np.array([weight for _, weight in one[0]])
    own, their = (np.array([[bits for bits, _ in seed] for seed in model]) for model in (one, other))
    gap = own.mean(0) - their.mean(0)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(size), (resamples, len(size)))
    drawn = gap[chosen].sum(1) / size[chosen].sum(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    seeds = (
        [(a.sum() - b.sum()) / size.sum() for a, b in zip(own, their, strict=True)] if len(own) == len(their) else []
    )
    return {
        "difference": float(gap.sum() / size.sum()),
        "low": float(low),
        "high": float(high),
        "n": len(size),
        "seeds": [float(value) for value in seeds],
    }
