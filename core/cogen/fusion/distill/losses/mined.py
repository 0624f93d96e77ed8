"""FuseLLM's MinED (arXiv:2401.10491), as a baseline: the teacher's likeliest tokens in the student's vocabulary.

Where one token stands beside one token, the teacher's ten likeliest become the student's by equal bytes or else by the
least edit distance, their probabilities (of these ten alone) add up, and the student's cross-entropy to them is the
loss. Elsewhere the target is the text's own next token; FuseLLM's first code took the present one there. The paper's
MinCE, to listen to the teacher with the least loss on a text, is ``mix = "best"``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cogen.fusion.distill.losses.loss import Pair
from cogen.fusion.distill.losses.starts import Listed
from cogen.fusion.distill.vocabularies import Nearest


@dataclass(frozen=True)
class MinEd(Listed):
    """See the module."""

    nearest: Nearest = field(compare=False)
    k: int = 10
    name: str = "mined"

    def measure(
        self, logits: torch.Tensor, lse: torch.Tensor, rows: torch.Tensor, at: torch.Tensor, pair: Pair
    ) -> torch.Tensor:
        own = -(logits.gather(1, pair.targets[rows, None])[:, 0] - lse)
        ids, logprobs = self.listed(pair, at)
        mapped = torch.tensor([[self.nearest.of(int(id)) for id in row] for row in ids.tolist()], device=logits.device)
        mapped = mapped.reshape(ids.shape)
        p = torch.where(mapped >= 0, logprobs.exp(), 0.0)
        total = p.sum(1, keepdim=True)
        logp = logits.gather(1, mapped.clamp(min=0)) - lse[:, None]
        soft = -(p / total.clamp(min=1e-9) * logp).sum(1)
        return torch.where(pair.single[at] & (total[:, 0] > 0), soft, own)[:, None]
