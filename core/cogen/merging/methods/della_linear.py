"""DELLA without an election of signs (arXiv:2406.11617)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.combine import combine
from cogen.merging.kernels.consensus import added
from cogen.merging.kernels.magprune import factors, rescaled, survivors
from cogen.merging.method import each, method
from cogen.merging.methods.task_arithmetic import coefficients

if TYPE_CHECKING:
    import torch

    from cogen.merging.method import Block


@method(
    survey=factors,
    unit="row",
    adds=True,
    per_expert=("density", "epsilon"),
    space={"scale": (0.0, 2.0), "density": (0.2, 0.8), "epsilon": (0.0, 0.2)},
    source="arXiv:2406.11617",
)
def della_linear(
    block: Block,
    weights: Sequence[float],
    state: list[float | None],
    *,
    scale: float = 1.0,
    normalize: bool = False,
    density: float | Sequence[float] = 0.5,
    epsilon: float | Sequence[float] = 0.15,
    seed: int = 0,
) -> torch.Tensor:
    """``base + s·Σ wᵢ fᵢ maskᵢ (Eᵢ - base)``: differences survive by their rank within the row, see ``della``.

    As mergekit's ``della_linear``, with the paper's factor 1/p (see ``rescale`` in ``della``). At density 1
    nothing is dropped: the same bits as ``task_arithmetic``.

    :raises UsageError: density ± epsilon is not between 0 and 1, or an option is not known.
    """
    own, parts = coefficients(weights, scale=scale, normalize=normalize)
    if min(each(density, len(weights))) >= 1.0:
        return combine(block, own, parts)
    found = survivors(block, density, epsilon, seed)
    return added(block, [mask for mask, _ in found], rescaled(parts, found, state))
