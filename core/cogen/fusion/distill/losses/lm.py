"""The language model's own loss: cross-entropy of the next token, in nats."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cogen.fusion.distill.losses.loss import Pair
from cogen.fusion.distill.wanted import Wanted


@dataclass(frozen=True)
class LanguageModel:
    name: str = "lm"

    @property
    def needs(self) -> Wanted:
        return Wanted()

    def rows(self, pair: Pair) -> torch.Tensor:
        return torch.nonzero(pair.targets != -100)[:, 0]

    def measure(
        self, logits: torch.Tensor, lse: torch.Tensor, rows: torch.Tensor, at: torch.Tensor, pair: Pair
    ) -> torch.Tensor:
        return (lse - logits.gather(1, pair.targets[rows, None])[:, 0])[:, None]

    def total(self, found: torch.Tensor, pair: Pair) -> tuple[torch.Tensor, int]:
        return found[:, 0].sum(), len(found)
