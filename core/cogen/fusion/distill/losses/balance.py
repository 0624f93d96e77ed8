"""How much a distillation loss weighs beside the language model's: by the size of their gradients.

Losses have units of their own: ALM's shrinks with τ, ULD's cannot exceed 2. With a fixed factor one of the two does
nothing (ALM's authors: factors of 1/3, 1 and 3 all end where plain training ends; balanced by gradients it gains four
points). So each loss is scaled until its gradient at the logits is as long as that of the language model's loss.

Lengths are read off the backward pass that every step makes, so a step is scaled by what the steps before it found.
A loss of which nothing is known yet is measured before its first step, by a backward pass of the losses alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cogen.fusion.distill.losses.gradient_norms import GradientNorms

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
        self._open: GradientNorms | None = None

    @property
    def measures(self) -> bool:
        """Does the next step measure lengths in its backward pass?"""
        return self.calls < 4 or self.calls % EVERY == 0

    def scales(
        self, logits: torch.Tensor, means: Sequence[torch.Tensor], norms: GradientNorms, *, training: bool = True
    ) -> list[float]:
        """What each distillation loss is multiplied with.

        :param means: the language model's loss, then the others, all of them functions of what was read of ``logits``.
        :param norms: what reading the logits fills. Call :meth:`settle` after the step's backward pass.
        """
        if training and logits.requires_grad:
            unknown = [number for number, known in enumerate((self.language, *self.others)) if known <= 0]
            if unknown:
                self._ask(logits, [mean if number in unknown else None for number, mean in enumerate(means)], norms)
            if self.measures:
                norms.through(means)
                self._open = norms
        self.calls += training
        return [self.language / other if other > 0 and self.language > 0 else 1.0 for other in self.others]

    def settle(self) -> None:
        """Update the means with what the backward pass measured, on all processes; nothing where it measured none."""
        if self._open is not None:
            self._open.open, found, self._open = False, self._open.lengths(), None
            self._learn(found)

    def _ask(self, logits: torch.Tensor, means: Sequence[torch.Tensor | None], norms: GradientNorms) -> None:
        """Learn the lengths of some losses before the step."""
        norms.through(means)
        known = [mean for mean in means if mean is not None and mean.requires_grad]
        if known:
            torch.autograd.grad(torch.stack(known).sum(), logits, retain_graph=True, allow_unused=True)
        norms.open = False
        self._learn(norms.lengths())

    def _learn(self, lengths: torch.Tensor) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(lengths)
        own, *others = lengths.tolist()
        self.language = _update(self.language, own)
        self.others = [_update(old, new) for old, new in zip(self.others, others, strict=True)]

    def state(self) -> dict[str, Any]:
        return {"calls": self.calls, "language": self.language, "others": self.others}

    def load(self, state: Mapping[str, Any]) -> None:
        self.calls, self.language, self.others = state["calls"], state["language"], list(state["others"])


def _update(old: float, new: float) -> float:
    """A batch without chunks has no length, and one that overflowed would stay for good: both are skipped."""
    if not 0 < new < math.inf:
        return old
    return new if old <= 0 else MEMORY * old + (1 - MEMORY) * new
