"""The hybrid of TRL's GOLD, as a baseline: tokens in both vocabularies by Jensen-Shannon, the others sorted.

    loss = w · JSD_β(teacher, student over shared tokens) + (1 - w) · Σ |sort(p_S) - sort(p_T)| over the others

w is the share of the teacher's vocabulary that is shared, as TRL has it (``uld_use_hybrid_loss`` of its experimental
GOLD). Two things differ: the teacher's k likeliest tokens stand for its whole distribution, because they come from a
cache; and rows are compared at the starts of chunks, where TRL's default takes those one token later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from cogen.fusion.distill.losses.chunk_loss import TopKLoss
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.projection import hybrid_reads, split_shared
from cogen.fusion.distill.losses.reads import Reads, SeenTokens


def jsd(student: torch.Tensor, teacher: torch.Tensor, beta: float = 0.5) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence over listed tokens, shape (m,).

    :param student, teacher: log-probabilities, shape (m, k); they need not add up to one.
    :param beta: weight of the teacher's side, above 0 and below 1.
    """
    mixed = torch.logaddexp(student + math.log(1 - beta), teacher + math.log(beta))
    return beta * (teacher.exp() * (teacher - mixed)).sum(1) + (1 - beta) * (student.exp() * (student - mixed)).sum(1)


@dataclass(frozen=True)
class Gold(TopKLoss):
    """See the module."""

    match: torch.Tensor = field(compare=False)
    unmatched: torch.Tensor = field(compare=False)
    k: int = 128
    beta: float = 0.5
    name: str = "gold"

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return hybrid_reads(self.top_tokens(batch)[0], self.match, self.unmatched, self.k, width)

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        student, teacher, there, s, t = split_shared(seen, *self.top_tokens(batch), self.match)
        share = (self.match >= 0).float().mean()
        low = torch.full_like(student, -60.0)  # no match: nothing on either side
        divergence = jsd(torch.where(there, student, low), torch.where(there, teacher, low), self.beta)
        return share * divergence + (1 - share) * (s - t).abs().sum(1)
