"""What losses have in common that compare next tokens at the start of every chunk and add up row by row."""

from __future__ import annotations

import torch

from cogen.fusion.distill.losses.loss import Pair
from cogen.fusion.distill.wanted import Wanted


class AtStarts:
    """Gives a loss its rows and its total; :meth:`Loss.measure` is left, and gives one number a row."""

    def rows(self, pair: Pair) -> torch.Tensor:
        return pair.start

    def total(self, found: torch.Tensor, pair: Pair) -> tuple[torch.Tensor, int]:
        return found[:, 0].sum(), pair.chunks


class Listed(AtStarts):
    """Reads the teacher's ``k`` likeliest tokens."""

    k: int

    @property
    def needs(self) -> Wanted:
        return Wanted(sparse=self.k)

    def listed(self, pair: Pair, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Those tokens at some chunks, and their log-probabilities, shape (m, k)."""
        assert pair.ids is not None  # it is in the cache, because :attr:`needs` says so
        assert pair.logprobs is not None
        return pair.ids[at, : self.k], pair.logprobs[at, : self.k]


def none(dtype: torch.dtype) -> float:
    """A logarithm that stands for no probability at all, and that can still be reckoned with."""
    return torch.finfo(dtype).min / 4


def logprobs_of(logits: torch.Tensor, lse: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The student's log-probabilities of tokens, shape (m, k); :func:`none` where a token is -1."""
    found = logits.gather(1, tokens.clamp(min=0)) - lse[:, None]
    return torch.where(tokens >= 0, found, none(logits.dtype))
