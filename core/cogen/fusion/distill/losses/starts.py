"""What losses have in common that compare next tokens at the start of every chunk and add up row by row."""

from __future__ import annotations

import torch

from cogen.fusion.distill.losses.loss import Pair


class AtStarts:
    """Gives a loss its rows and its total; :meth:`Loss.measure` is left, and gives one number a row."""

    def rows(self, pair: Pair) -> torch.Tensor:
        return pair.start

    def total(self, found: torch.Tensor, pair: Pair) -> tuple[torch.Tensor, int]:
        return found[:, 0].sum(), pair.chunks


def listed(pair: Pair, at: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's k likeliest tokens at some chunks, and their log-probabilities, shape (m, k)."""
    assert pair.ids is not None  # a loss that reads them wants them in the cache
    assert pair.logprobs is not None
    return pair.ids[at, :k], pair.logprobs[at, :k]
