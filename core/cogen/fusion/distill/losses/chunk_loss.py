"""What losses have in common that compare next tokens at the start of every chunk and add up row by row."""

from __future__ import annotations

import torch

from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import SeenTokens
from cogen.fusion.distill.teachers.needs import TeacherStatistics


class ChunkLoss:
    """Gives a loss its rows and its total; :meth:`Loss.reads` is left, and :meth:`each`."""

    def rows(self, batch: DistillBatch) -> torch.Tensor:
        return batch.start

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        """The loss of every chunk, shape (C,); there is at least one."""
        raise NotImplementedError

    def total(self, seen: SeenTokens, batch: DistillBatch) -> tuple[torch.Tensor, int]:
        return (self.each(seen, batch) if batch.chunks else seen.lse).sum(), batch.chunks


class TopKLoss(ChunkLoss):
    """Reads the teacher's ``k`` likeliest tokens."""

    k: int

    @property
    def needs(self) -> TeacherStatistics:
        return TeacherStatistics(sparse=self.k)

    def top_tokens(self, batch: DistillBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Those tokens, and their log-probabilities, shape (C, k)."""
        assert batch.ids is not None  # in the cache, because :attr:`needs` lists it
        assert batch.logprobs is not None
        return batch.ids[:, : self.k], batch.logprobs[:, : self.k]


def none(dtype: torch.dtype) -> float:
    """A logarithm that stands for no probability at all, and that can still be reckoned with."""
    return torch.finfo(dtype).min / 4


def where_there(logprobs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of tokens, shape (m, k); :func:`none` where a token is -1, which is read as token 0."""
    return torch.where(tokens >= 0, logprobs, none(logprobs.dtype))
