"""X-Token (arXiv:2605.21699): the student's probabilities in the teacher's vocabulary, and hybrid divergence.

P-KL: every token of the student gives its probability to the teacher's tokens that it is made of (a sparse map with at
most four shares a token); KL(teacher ‖ projected student) over the teacher's k likeliest tokens and one bucket for all
others. NVIDIA's code compares a subset of 8,192 tokens that a whole batch shares and renormalises nothing; the bucket
here keeps the gradient from pressing on what lies outside of the subset.

H-KL: tokens with the same bytes on both sides are compared one by one, the others by their sorted probabilities. Their
relaxed matching (shares of at least 0.6) is left out: only equal bytes match.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cogen.fusion.distill.losses.chunk_loss import TopKLoss, none, where_there
from cogen.fusion.distill.losses.kl import bucketed_kl
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.projection_map import Map, Projected
from cogen.fusion.distill.losses.reads import Reads, SeenTokens


@dataclass(frozen=True)
class ProjectionKl(TopKLoss):
    """P-KL at the start of every chunk."""

    map: Map = field(compare=False)
    k: int = 128
    name: str = "p_kl"

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return Reads(sums=Projected(self.map, self.top_tokens(batch)[0]))

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        return bucketed_kl(seen.sums, self.top_tokens(batch)[1])


def hybrid_reads(ids: torch.Tensor, match: torch.Tensor, unmatched: torch.Tensor, most: int, width: int) -> Reads:
    """Tokens with the same bytes, and the likeliest ones without.

    :param ids: the teacher's listed tokens, shape (C, k).
    :param match: the student's token of the same bytes for each of the teacher's, shape (V_t,); -1: none.
    :param unmatched: student's tokens without one, shape (V_s,), bool.
    :param most: so many of the others are compared by rank.
    """
    lonely = unmatched[:width].to(ids.device)
    columns = match.to(ids.device)[ids].clamp(min=0)
    return Reads(columns, min(most, int(lonely.sum()), ids.shape[1]), lonely)


def split_shared(
    seen: SeenTokens, ids: torch.Tensor, logprobs: torch.Tensor, match: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both sides' probabilities, tokens with the same bytes apart from the others.

    :param seen: by :func:`hybrid_reads`.
    :returns: log-probabilities of the teacher's listed tokens as the student sees them and as the teacher does, shape
        (C, k), very small where there is no match; which of them match, shape (C, k); and the others' probabilities,
        descending, shape (C, most), of student and teacher.
    """
    own = match.to(ids.device)[ids]
    there = own >= 0
    teacher = torch.where(there, logprobs, none(seen.lse.dtype))
    s = (seen.top - seen.lse[:, None]).exp()
    t = torch.where(there, 0.0, logprobs.exp()).sort(1, descending=True).values[:, : s.shape[1]]
    return where_there(seen.logprobs, own), teacher, there, s, t


@dataclass(frozen=True)
class HybridKl(TopKLoss):
    """H-KL at the start of every chunk; ``Gold`` has the same parts with another divergence."""

    match: torch.Tensor = field(compare=False)
    unmatched: torch.Tensor = field(compare=False)
    k: int = 128
    name: str = "h_kl"

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return hybrid_reads(self.top_tokens(batch)[0], self.match, self.unmatched, self.k, width)

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        student, teacher, _, s, t = split_shared(seen, *self.top_tokens(batch), self.match)
        return bucketed_kl(student, teacher) + (s - t).abs().sum(1)
