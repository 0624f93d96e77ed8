"""Norms of the gradients of several losses at the logits, each by itself, read off one backward pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch


class GradientNorms:
    """Filled by :func:`~cogen.fusion.distill.losses.rows.read_logits`, which has each loss's gradient of a slice of
    rows before it adds them up.

    :param count: of losses.
    """

    def __init__(self, count: int) -> None:
        #: Does backward fill it? That takes a few more passes over each slice.
        self.open = False
        self.count = count

    def through(self, means: Sequence[torch.Tensor | None]) -> None:
        """Open it, empty, for the backward pass that comes.

        :param means: one of each loss, functions of what it read, whose gradients are wanted; ``None``: not this one.
            Whatever backward multiplies them with is divided out again.
        """
        self.open = True
        self._device = next((mean.device for mean in means if mean is not None), torch.device("cpu"))
        self._squares = torch.zeros(self.count, device=self._device)
        self._factors = torch.zeros(self.count, device=self._device)
        for number, mean in enumerate(means):
            if mean is not None and mean.requires_grad:
                tensor: Any = mean  # torch has no types for hooks
                tensor.register_hook(functools.partial(self._factors.__setitem__, number))

    def add(self, number: int, gradient: torch.Tensor) -> None:
        """A part of a loss's gradient."""
        self._squares[number] += torch.linalg.vector_norm(gradient).float().square()

    def lengths(self) -> torch.Tensor:
        """Euclidean lengths of the gradients of ``means``, shape (count,), float32; zero or NaN: unknown."""
        return self._squares.sqrt() / self._factors.abs()
