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

from cogen.fusion.distill.losses.kl import bucketed_kl
from cogen.fusion.distill.losses.loss import Pair
from cogen.fusion.distill.losses.starts import Listed, logprobs_of, none
from cogen.fusion.distill.top import top_k

#: A projected probability below counts as this.
_LEAST = 1e-9


def projected(
    p: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, shares: torch.Tensor, size: int
) -> torch.Tensor:
    """Probabilities in the teacher's vocabulary, shape (m, size).

    :param p: of the student's tokens, shape (m, V_s); the map as :func:`~cogen.fusion.distill.vocabularies.projection`
        gives it.
    """
    return p.new_zeros(len(p), size).index_add(1, columns, p[:, rows] * shares)


@dataclass(frozen=True)
class ProjectionKl(Listed):
    """P-KL at the start of every chunk.

    :param source, target, share: nonzeros of the map, shape (nonzeros,); ``size``: of the teacher's vocabulary.
    """

    source: torch.Tensor = field(compare=False)
    target: torch.Tensor = field(compare=False)
    share: torch.Tensor = field(compare=False)
    size: int = 0
    k: int = 128
    name: str = "p_kl"

    def measure(
        self, logits: torch.Tensor, lse: torch.Tensor, rows: torch.Tensor, at: torch.Tensor, pair: Pair
    ) -> torch.Tensor:
        device = logits.device
        p = (logits - lse[:, None]).exp()
        found = projected(p, self.source.to(device), self.target.to(device), self.share.to(p), self.size)
        ids, teacher = self.listed(pair, at)
        return bucketed_kl(found.gather(1, ids).clamp(min=_LEAST).log(), teacher)[:, None]


def parted(
    logits: torch.Tensor, lse: torch.Tensor, ids: torch.Tensor, logprobs: torch.Tensor, match: torch.Tensor,
    unmatched: torch.Tensor, most: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Both sides' probabilities, tokens with the same bytes apart from the others.

    :param match: the student's token of the same bytes for each of the teacher's, shape (V_t,); -1: none.
    :param unmatched: student's tokens without one, shape (V_s,), bool.
    :param most: so many of the others are compared by rank.
    :returns: log-probabilities of the teacher's listed tokens as the student sees them and as the teacher does, shape
        (m, k), very small where there is no match; which of them match, shape (m, k); and the others' probabilities,
        descending, shape (m, most), of student and teacher.
    """
    own = match[ids]
    there = own >= 0
    student = logprobs_of(logits, lse, own)
    teacher = torch.where(there, logprobs, none(logits.dtype))
    most = min(most, int(unmatched[: logits.shape[1]].sum()), ids.shape[1])
    if not most:
        empty = logits.new_zeros(len(logits), 0)
        return student, teacher, there, empty, empty
    lonely = logits.masked_fill(~unmatched[: logits.shape[1]], float("-inf"))
    s = (top_k(lonely, most)[0] - lse[:, None]).exp()
    t = torch.where(there, 0.0, logprobs.exp()).sort(1, descending=True).values[:, :most]
    return student, teacher, there, s, t


@dataclass(frozen=True)
class HybridKl(Listed):
    """H-KL at the start of every chunk; :class:`Gold` has the same parts with another divergence."""

    match: torch.Tensor = field(compare=False)
    unmatched: torch.Tensor = field(compare=False)
    k: int = 128
    name: str = "h_kl"

    def measure(
        self, logits: torch.Tensor, lse: torch.Tensor, rows: torch.Tensor, at: torch.Tensor, pair: Pair
    ) -> torch.Tensor:
        match, unmatched = self.match.to(logits.device), self.unmatched.to(logits.device)
        ids, logprobs = self.listed(pair, at)
        student, teacher, _, s, t = parted(logits, lse, ids, logprobs, match, unmatched, self.k)
        return (bucketed_kl(student, teacher) + (s - t).abs().sum(1))[:, None]
