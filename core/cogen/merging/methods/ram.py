"""RAM, Reinforced Agent Merging: unchanged, unique and shared positions (arXiv:2601.13572)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.bits import greater
from cogen.merging.kernels.consensus import average_masked
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block


def changes(block: Block, epsilon: float) -> list[torch.Tensor]:
    """For each expert the mask of what it changed by more than ``epsilon``."""
    return [greater(difference.abs(), epsilon) for difference in block.differences]


@method(space={"scale": (0.0, 2.0)}, source="arXiv:2601.13572")
def ram(
    block: Block, weights: Sequence[float], state: None, *, scale: float = 1.0, epsilon: float = 1e-5
) -> torch.Tensor:
    """``base + s·m``: m is the difference of the one expert that changed a position, or the mean of those that did.

    A change is a difference larger than ``epsilon``; smaller ones are left out. As mergekit's ``ram`` and the authors'
    code with equal weights; other weights count in the mean.
    """
    return average_masked(block, changes(block, epsilon), weights, weights, scale)
