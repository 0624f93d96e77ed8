"""The graph on logits of InfiGFusion (arXiv:2505.13893), beside its token-wise ULD.

    C = mean over a text's rows of z zᵀ, z the K largest logits of a row, standardised
    f(i) = square root of the mean over j of C(i, j)²
    loss = Σ |sort(f_student) - sort(f_teacher)|

Nodes are ranks, edges say which of them move together over a text; sorting compares the graphs in O(K log K) where
Gromov-Wasserstein takes O(K⁴). Published are the outer products, the sorting and K; how a node is summed up is not.
Standardised rows have mean zero, so a node's mean edge is always zero: its length is taken. The mean over rows stands
in the place of their sum, so that long texts do not count more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cogen.fusion.distill.losses.chunk_loss import ChunkLoss
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.losses.uld import standardise_rows
from cogen.fusion.distill.teachers.needs import TeacherStatistics


def features(top: torch.Tensor, text: torch.Tensor, count: int) -> torch.Tensor:
    """f of every text, shape (count, K).

    :param top: largest logits of each row, shape (C, K); ``text``: whose row it is, shape (C,).
    """
    z = standardise_rows(top)
    edges = z[:, :, None] * z[:, None, :]
    sums = edges.new_zeros(count, *edges.shape[1:]).index_add(0, text, edges)
    sizes = edges.new_zeros(count).index_add(0, text, edges.new_ones(len(edges)))
    graphs = sums / sizes.clamp(min=1)[:, None, None]
    return (graphs.square().mean(2) + 1e-12).sqrt()  # the root of zero has no gradient


@dataclass(frozen=True)
class Graph(ChunkLoss):
    """One number a text; counted in texts."""

    k: int = 10
    name: str = "graph"

    @property
    def needs(self) -> TeacherStatistics:
        return TeacherStatistics(top=self.k)

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        assert batch.top is not None
        return Reads(top=min(self.k, width, batch.top.shape[1]))

    def total(self, seen: SeenTokens, batch: DistillBatch) -> tuple[torch.Tensor, int]:
        if not batch.chunks:
            return seen.lse.sum(), 0
        assert batch.top is not None
        texts, index = torch.unique(batch.text, return_inverse=True)
        own, other = (features(top, index, len(texts)) for top in (seen.top, batch.top[:, : seen.top.shape[1]]))
        difference = own.sort(1).values - other.sort(1).values
        return difference.abs().sum(), len(texts)
