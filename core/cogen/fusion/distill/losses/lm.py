"""The language model's own loss: cross-entropy of the next token, in nats."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.teachers.needs import TeacherStatistics


@dataclass(frozen=True)
class LanguageModel:
    name: str = "lm"

    @property
    def needs(self) -> TeacherStatistics:
        return TeacherStatistics()

    def rows(self, batch: DistillBatch) -> torch.Tensor:
        return torch.nonzero(batch.targets != -100)[:, 0]

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        return Reads(batch.targets[self.rows(batch), None])

    def total(self, seen: SeenTokens, batch: DistillBatch) -> tuple[torch.Tensor, int]:
        if not len(seen.lse):
            return seen.lse.sum(), 0
        return (seen.lse - seen.columns[:, 0]).sum(), len(seen.lse)
