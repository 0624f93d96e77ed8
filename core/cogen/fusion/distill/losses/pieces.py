"""Divergence of the next token in the student's own vocabulary: KL(teacher, cut into the student's pieces ‖ student).

Where the teacher predicts ``▁chiropractor`` and the student has no such token, the student predicts its first piece
of it. So each of the teacher's k likeliest tokens gives its probability to that piece, and tokens that begin
with the same one add up; what has no piece falls to the bucket of all others. Which piece that is, the texts tell where
both tokenizers read them (:func:`~.alignment.vocabularies.estimate_first_pieces`), and the tokens' bytes elsewhere.
P-KL (X-Token) projects the other way and leaves a student with the smaller vocabulary without targets for the
teacher's long tokens. For one tokenizer on both sides this is :class:`~cogen.fusion.distill.losses.kl.Kl`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cogen.fusion.distill.losses.chunk_loss import TopKLoss, none, where_there
from cogen.fusion.distill.losses.kl import bucketed_kl
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens


def gathered(own: torch.Tensor, logprobs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities added up by token, row by row.

    :param own, logprobs: tokens, -1 for none, and log-probabilities, shape (m, k).
    :returns: each row's tokens once, then -1, as many columns as the fullest row needs; and the logarithm of their
        sums, -inf where there is none.
    """
    ordered, order = own.sort(1, descending=True)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    slot = fresh.cumsum(1) - 1
    tokens = torch.full_like(own, -1).scatter(1, slot, ordered)
    sums = torch.zeros_like(logprobs).scatter_add(1, slot, logprobs.exp().gather(1, order))
    most = max(1, int((tokens >= 0).any(0).sum()))  # descending: what is there stands on the left
    return tokens[:, :most], torch.where(tokens >= 0, sums, 0.0).log()[:, :most]


@dataclass(frozen=True)
class PieceKl(TopKLoss):
    """At the start of every chunk.

    :param piece: the student's tokens that each of the teacher's begins with, shape (V_t, m); -1: none.
    :param share: how much of its probability goes to each, shape (V_t, m); rows add up to at most one.
    """

    piece: torch.Tensor = field(compare=False)
    share: torch.Tensor = field(compare=False)
    k: int = 128
    name: str = "piece_kl"

    def tokens(self, batch: DistillBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The student's tokens, -1 for none, and the teacher's log-probabilities of them, a column for each."""
        ids, logprobs = self.top_tokens(batch)
        piece, share = self.piece.to(ids.device)[ids], self.share.to(ids.device)[ids]
        return gathered(piece.flatten(1), (logprobs[:, :, None] + share.log()).flatten(1))

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return Reads(self.tokens(batch)[0].clamp(min=0))

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        tokens, teacher = self.tokens(batch)
        return bucketed_kl(where_there(seen.logprobs, tokens), teacher.clamp(min=none(seen.lse.dtype)))
