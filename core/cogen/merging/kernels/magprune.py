"""MAGPRUNE, the pruning of DELLA (arXiv:2406.11617): the larger a difference in its row, the likelier it stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cogen.errors import UsageError
from cogen.merging.kernels.bits import magnitude
from cogen.merging.kernels.floats import nonzero
from cogen.merging.kernels.random import below, words
from cogen.merging.kernels.sparse import check_choice, check_shares, restore_l1
from cogen.merging.method import each

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def probabilities(difference: torch.Tensor, density: float, epsilon: float) -> torch.Tensor:
    """For each element of a (rows, columns) block the probability that it stays, of the same shape and dtype.

    ``density - ε`` for the smallest magnitude of a row to ``density + ε`` for the largest, in equal steps; of equal
    magnitudes the earlier one has the lower rank. ``density`` where a row has one element. Magnitudes are compared in
    float32.
    """
    import torch

    columns = difference.shape[1]
    steps = np.linspace(density - epsilon, density + epsilon, columns) if columns > 1 else np.array([density])
    codes = magnitude(difference).numpy()
    # Two passes of a stable sort of 16 bits, which numpy does by counting: several times faster than one of 32.
    order = _order((codes & 0xFFFF).astype(np.uint16))
    upper = torch.from_numpy((codes >> 16).astype(np.int16)).gather(1, order)
    order = order.gather(1, _order(upper.numpy().view(np.uint16)))
    return torch.empty_like(difference).scatter_(
        1, order, torch.from_numpy(steps).to(difference.dtype).expand(order.shape)
    )


def _order(digits: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.argsort(digits, axis=1, kind="stable"))


def survivors(
    block: Block, density: float | Sequence[float], epsilon: float | Sequence[float], seed: int
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """For each expert the mask of the differences that stay, and their probabilities; ``None`` if all stay."""
    import torch

    found: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    count = len(block.keys)
    rows = zip(block.differences, each(density, count), each(epsilon, count), block.keys, strict=True)
    for difference, share, width, key in rows:
        mask = nonzero(difference)
        if share >= 1.0:
            found.append((mask, None))
            continue
        chance = probabilities(difference, share, width)
        # Words are spread evenly over [-2³¹, 2³¹).
        limit = (chance.to(torch.float64) * 2.0**32).sub_(2.0**31).to(torch.int32)
        drawn = words(int(seed), key, block.name, block.start, block.stop).view(limit.shape)
        found.append((mask.bitwise_and_(below(drawn, limit).to(mask.dtype)), chance))
    return found


def factors(
    stack: Stack,
    weights: Sequence[float],
    *,
    density: float | Sequence[float] = 0.5,
    epsilon: float | Sequence[float] = 0.15,
    rescale: str = "inverse",
    seed: int = 0,
) -> list[float | None]:
    """What each expert's surviving differences are multiplied by; ``None``: by 1 over their probability."""
    check_choice("rescale", rescale, ("inverse", "l1", "none"))
    count = len(weights)
    for share, width in zip(check_shares("density", density, count), each(epsilon, count), strict=True):
        if share < 1.0 and not (width >= 0.0 and share - width > 0.0 and share + width < 1.0):
            raise UsageError(
                f"density {share:g} ± epsilon {width:g} leaves the range 0 to 1", hint="give a smaller epsilon"
            )
    if rescale == "l1":
        return list(restore_l1(stack, lambda block: [mask for mask, _ in survivors(block, density, epsilon, seed)]))
    return [None if rescale == "inverse" else 1.0] * count


def rescale_weights(
    weights: Sequence[float], found: Sequence[tuple[torch.Tensor, torch.Tensor | None]], state: Sequence[float | None]
) -> list[float | torch.Tensor]:
    """The weights times the factors, a tensor where every element has its own."""
    parts: list[float | torch.Tensor] = []
    for weight, (_, chance), factor in zip(weights, found, state, strict=True):
        if factor is not None or chance is None or weight == 0.0:
            parts.append(weight * (1.0 if factor is None else factor))
        else:
            parts.append(chance.reciprocal().mul_(weight))
    return parts
