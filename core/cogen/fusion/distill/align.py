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
    """C chunks in order; all shapes (C,), int64. Token indices count from an answer's first token.

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

    A token of no width right behind a chunk belongs to the next one; behind the last chunk it belongs to none.
    """
    ends = np.intersect1d(a, b)
    ends = ends[ends > 0]
    a_last, b_last = np.searchsorted(a, ends, side="left"), np.searchsorted(b, ends, side="left")
    first = np.zeros(min(1, len(ends)), dtype=np.int64)
    return Chunks(
        np.concatenate([first, a_last[:-1] + 1]), a_last, np.concatenate([first, b_last[:-1] + 1]), b_last,
        ends.astype(np.int64),
    )  # fmt: skip
