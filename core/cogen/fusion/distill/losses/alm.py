"""Approximate likelihood matching: both models should give the same bytes the same probability (arXiv:2503.20083).

    p = P(the chunk's tokens)^(1/τ)
    loss = p_T log(p_T / p_S) + (1 - p_T) log((1 - p_T) / (1 - p_S))

No vocabulary is mapped and nothing is sorted: the loss is zero just where the models agree. τ = 5 (the paper's better
value). A chunk's probability depends on what its tokenizer would have let follow, so the probability that a word
begins behind the chunk is taken into it ("debiasing"), and chunks behind which the teacher hardly expects one
(at most γ = 0.1) are left out. tokenkit subtracts 1e-6 from log-probabilities to keep 1 - p above zero; so do we.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.teachers.needs import TeacherStatistics

_EPSILON = 1e-6


def alm(student: torch.Tensor, teacher: torch.Tensor, tau: float = 5.0) -> torch.Tensor:
    """The loss of every chunk, shape (C,); zero where both are equal.

    :param student, teacher: log-probabilities of chunks in nats, shape (C,), at most 0.
    """
    # Rounding may lift a sure one above zero, by more than the epsilon where logits are large.
    s, t = (side.clamp(max=0) / tau - _EPSILON for side in (student, teacher))
    return t.exp() * (t - s) - torch.expm1(t) * (log1m_exp(t) - log1m_exp(s))


def log1m_exp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation at either end."""
    near = x > -0.6931471805599453
    safe_near, safe_far = torch.where(near, x, -1.0), torch.where(near, -1.0, x)
    return torch.where(near, (-torch.expm1(safe_near)).log(), torch.log1p(-safe_far.exp()))


@dataclass(frozen=True)
class WordStarts:
    """The probability that the next token begins a word: one sum a row.

    :param words: one for tokens that do, zero for others, shape (V,).
    """

    words: torch.Tensor
    least: float = -math.inf

    def of(self, exps: torch.Tensor, at: slice | torch.Tensor) -> torch.Tensor:
        return (exps @ self.words.to(exps))[:, None]

    def spread(self, shares: torch.Tensor, at: slice | torch.Tensor, into: torch.Tensor) -> None:
        into.addcmul_(shares, self.words.to(shares))


@dataclass(frozen=True)
class Alm:
    """:func:`alm` of every chunk behind which a word may begin.

    :param words: tokens of the student that begin a word, shape (V,), bool; ``None``: no debiasing.
    """

    words: torch.Tensor | None = field(default=None, compare=False)
    tau: float = 5.0
    gamma: float = 0.1
    name: str = "alm"

    @property
    def needs(self) -> TeacherStatistics:
        return TeacherStatistics(logprob=True, boundary=self.words is not None)

    def rows(self, batch: DistillBatch) -> torch.Tensor:
        own = torch.nonzero(batch.chunk >= 0)[:, 0]
        return own if self.words is None else torch.unique(torch.cat([own, batch.after]))

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        rows = self.rows(batch)
        words = None if self.words is None else WordStarts(self.words[:width].to(rows.device, torch.float32))
        return Reads(batch.targets[rows, None].clamp(min=0), sums=words)

    def total(self, seen: SeenTokens, batch: DistillBatch) -> tuple[torch.Tensor, int]:
        if not batch.chunks:
            return seen.lse.sum(), 0
        assert batch.logprob is not None
        rows = self.rows(batch)
        chunk = batch.chunk[rows]
        inside = chunk >= 0
        own = seen.lse.new_zeros(batch.chunks).index_add(0, chunk[inside], seen.logprobs[inside, 0])
        teacher = batch.logprob
        if self.words is None:
            return alm(own, teacher, self.tau).sum(), batch.chunks
        assert batch.boundary is not None
        own = own + seen.sums[torch.searchsorted(rows, batch.after), 0]
        teacher = teacher + batch.boundary
        kept = batch.boundary.exp() > self.gamma
        return alm(own[kept], teacher[kept], self.tau).sum(), int(kept.sum())
