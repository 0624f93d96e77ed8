"""FuseLLM's MinED (arXiv:2401.10491), as a baseline: the teacher's likeliest tokens in the student's vocabulary.

Where one token stands beside one token, the teacher's ten likeliest become the student's by equal bytes or else by the
least edit distance, their probabilities (of these ten alone) add up, and the student's cross-entropy to them is the
loss. Elsewhere the target is the text's own next token; FuseLLM's first code took the present one there. The paper's
MinCE, which takes the teacher with the least loss on a text, is ``mix = "best"``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cogen.fusion.distill.alignment.vocabularies import Nearest
from cogen.fusion.distill.losses.chunk_loss import TopKLoss
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens


@dataclass(frozen=True)
class MinEd(TopKLoss):
    """See the module."""

    nearest: Nearest = field(compare=False)
    k: int = 10
    name: str = "mined"

    def map_tokens(self, batch: DistillBatch) -> torch.Tensor:
        """The student's tokens for the teacher's, shape (C, k); -1: none."""
        ids, _ = self.top_tokens(batch)
        found = [[self.nearest.of(id) for id in row] for row in ids.tolist()]
        return torch.tensor(found, device=ids.device).reshape(ids.shape)

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return Reads(torch.cat([batch.targets[batch.start, None], self.map_tokens(batch).clamp(min=0)], 1))

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        own, logp = seen.logprobs[:, 0], seen.logprobs[:, 1:]
        p = torch.where(self.map_tokens(batch) >= 0, self.top_tokens(batch)[1].exp(), 0.0)
        total = p.sum(1, keepdim=True)
        soft = (p / total.clamp(min=1e-9) * logp).sum(1)
        return -torch.where(batch.single & (total[:, 0] > 0), soft, own)
