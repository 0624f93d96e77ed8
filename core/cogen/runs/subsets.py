"""Random subsets of experts of each size, in which every expert occurs equally often."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

_ATTEMPTS = 200


def balanced_subsets(experts: Sequence[str], size: int, number: int, seed: int) -> list[tuple[str, ...]]:
    """At most ``number`` different subsets of ``size`` experts, in the order of ``experts``; all, if there are no more.

    No expert occurs more than once more often than another one: with as many subsets as experts (or a multiple of
    them), each occurs equally often, so that a mean over the subsets favours no domain.
    """
    if number >= math.comb(len(experts), size):
        return list(itertools.combinations(experts, size))
    draw = random.Random(f"{seed} {size}")
    best: list[tuple[str, ...]] = []
    for _ in range(_ATTEMPTS):
        found = _attempt(experts, size, number, draw)
        if len(found) == number:
            return found
        best = max(best, found, key=len)
    return best


def _attempt(experts: Sequence[str], size: int, number: int, draw: random.Random) -> list[tuple[str, ...]]:
    """Subset after subset of those that occurred least, ties by lot, until one comes up again and again."""
    counts = dict.fromkeys(experts, 0)
    found: list[tuple[str, ...]] = []
    for _ in range(number):
        for _ in range(_ATTEMPTS):
            lots = {id: (count, draw.random()) for id, count in counts.items()}
            chosen = set(sorted(experts, key=lots.__getitem__)[:size])
            subset = tuple(id for id in experts if id in chosen)
            if subset not in found:
                break
        else:
            return found
        found.append(subset)
        for id in subset:
            counts[id] += 1
    return found
