"""Localize-and-Stitch without data (arXiv:2408.13656): a few per cent of each expert, put into the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import average_masked
from cogen.merging.kernels.order import Cut
from cogen.merging.kernels.sparse import largest_of_model, masks
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def localize(
    stacks: Sequence[Stack], weights: Sequence[float], *, density: float | Sequence[float] = 0.05
) -> list[list[Cut]]:
    """The ``density·n`` largest differences of every expert in the whole model."""
    return largest_of_model(stacks, weights, density=density)


@method(
    survey=localize,
    whole_model=True,
    per_expert=("density",),
    space={"scale": (0.0, 2.0), "density": (0.01, 0.5)},
    source="arXiv:2408.13656",
)
def localize_and_stitch(block: Block, weights: Sequence[float], cuts: list[Cut], *, scale: float = 1.0) -> torch.Tensor:
    """``base + s·m``: m is the difference of the expert whose mask covers a position, or the mean of those whose do.

    An expert's mask is the share ``density`` of its largest differences by magnitude over all n that are merged,
    ``int(density·n)`` of them (the authors use 0.05 for language models, 0.1 for vision; their code keeps those above
    the smallest of them, one fewer). The paper's variant without data, with equal weights and s = 1; other weights
    count in the mean.

    :raises UsageError: a density is not above 0 and at most 1.
    """
    return average_masked(block, masks(block, cuts), weights, weights, scale)
