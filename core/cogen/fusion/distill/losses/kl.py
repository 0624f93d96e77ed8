"""Divergence of the next token from a teacher of the same vocabulary: KL(teacher ‖ student), forward.

The teacher's k likeliest tokens have a bucket each and all others share one, on both sides: nothing is renormalised,
so a teacher that is unsure stays unsure. With k = V it is the exact divergence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cogen.fusion.distill.losses.alm import log1m_exp
from cogen.fusion.distill.losses.chunk_loss import TopKLoss
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens

#: Mass below which the rest of a row is taken for none, on either side.
_LEAST = 1e-7


def rest(logprobs: torch.Tensor) -> torch.Tensor:
    """The logarithm of what the listed entries leave, shape (C,); at least the smallest that differs from none."""
    total = logprobs.logsumexp(1).clamp(max=-_LEAST)
    return log1m_exp(total)


def bucketed_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL over k buckets and one for the rest, shape (C,).

    :param student, teacher: log-probabilities of the same k tokens, shape (C, k).
    """
    s = torch.cat([student, rest(student)[:, None]], 1)
    t = torch.cat([teacher, rest(teacher)[:, None]], 1)
    return (t.exp() * (t - s)).sum(1)


@dataclass(frozen=True)
class Kl(TopKLoss):
    """:func:`bucketed_kl` at every token. Only for one tokenizer on both sides: ``make_loss`` rejects others."""

    k: int = 128
    name: str = "kl"

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return Reads(self.top_tokens(batch)[0])

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        return bucketed_kl(seen.logprobs, self.top_tokens(batch)[1])
