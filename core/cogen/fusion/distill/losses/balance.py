"""How much a distillation loss weighs beside the language model's: by the size of their gradients.

Losses have units of their own: ALM's shrinks with τ, ULD's cannot exceed 2. With a fixed factor one of the two does
nothing (ALM's authors: factors of 1/3, 1 and 3 all end where plain training ends; balanced by gradients it gains four
points). So each loss is scaled until its gradient at the logits is as long as that of the language model's loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

#: Gradients are measured in the first steps and then in every so many: they drift slowly.
EVERY = 8
#: Weight of what was known before.
MEMORY = 0.5


class Balance:
    """Running means of the gradients' lengths; a part of a run's state, so that it can go on where it was.

    :param count: of distillation losses.
    """

    def __init__(self, count: int) -> None:
        self.calls = 0
        self.language = 0.0
        self.others = [0.0] * count

    def scales(self, logits: torch.Tensor, means: Sequence[torch.Tensor], *, training: bool = True) -> list[float]:
        """What each distillation loss is multiplied with.

        :param means: the language model's loss, then the others, all of them functions of ``logits``.
        """
        if training and logits.requires_grad and (self.calls < 4 or self.calls % EVERY == 0):
            self._look(logits, means)
        self.calls += training
        return [self.language / other if other > 0 and self.language > 0 else 1.0 for other in self.others]

    def _look(self, logits: torch.Tensor, means: Sequence[torch.Tensor]) -> None:
        lengths = torch.stack([_length(mean, logits) for mean in means])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(lengths)
        own, *others = lengths.tolist()
        self.language = _moved(self.language, own)
        self.others = [_moved(old, new) for old, new in zip(self.others, others, strict=True)]

    def state(self) -> dict[str, Any]:
        return {"calls": self.calls, "language": self.language, "others": self.others}

    def load(self, state: Mapping[str, Any]) -> None:
        self.calls, self.language, self.others = state["calls"], state["language"], list(state["others"])


def _length(mean: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Euclidean length of a loss's gradient; one at a time, so that no two of them are in memory."""
    if not mean.requires_grad:
        return torch.zeros((), device=logits.device)
    (found,) = torch.autograd.grad(mean, logits, retain_graph=True, allow_unused=True)
    return (
        torch.zeros((), device=logits.device) if found is None else torch.linalg.vector_norm(found, dtype=torch.float32)
    )


def _moved(old: float, new: float) -> float:
    """A batch without chunks says nothing, and neither does one that overflowed: it would stay for good."""
    if not 0 < new < math.inf:
        return old
    return new if old <= 0 else MEMORY * old + (1 - MEMORY) * new
