"""Two tokenizations of the same bytes, cut into the shortest runs of whole tokens that end on the same byte.

At a run's start both models have read the same bytes, so what they predict there can be compared; inside of a run of
several tokens it can not. Everything is by bytes: characters that are split over tokens, one-sided spaces and tokens of
no width need no rule of their own (compare the issues of others with positions, characters and incremental decoding:
huggingface/trl #4393, #5885).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chunks:
    """C chunks in order; all shapes (C,), int32. Token indices count from an answer's first token.

    :param a_first, a_last, b_first, b_last: the chunk's tokens on both sides, the last one included.
    :param end: the byte behind the chunk.
    """

    a_first: np.ndarray
    a_last: np.ndarray
    b_first: np.ndarray
    b_last: np.ndarray
    end: np.ndarray


def align(a: np.ndarray, b: np.ndarray) -> Chunks:
    """
    :param a, b: byte behind each token, never falling: :attr:`Encoded.ends` of both sides. Where one side was cut, only
        what both have read is aligned.

    A token of no width right behind a chunk belongs to the next one; behind the last chunk it belongs to none. What
    predicts a chunk's first token on side a is row ``start + a_first - 1`` of its logits, one before the token's own.
    """
    places = np.searchsorted(b, a, side="left")
    common = np.flatnonzero(np.append(b, -1)[places] == a)
    # The first of a's tokens that ends there is the one that has width.
    a_last = common[np.diff(a[common], prepend=0) > 0]
    b_last = places[a_last]
    return Chunks(*(side.astype(np.int32) for side in (_after(a_last), a_last, _after(b_last), b_last, a[a_last])))


def _after(last: np.ndarray) -> np.ndarray:
    """Where chunks begin that end there: each behind the one before it."""
    first: np.ndarray = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    return first
