"""RAM+, tensor by tensor: what only one expert changed is amplified (arXiv:2601.13572)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.merging.kernels.consensus import average_masked, reduce_weights
from cogen.merging.kernels.floats import bits_of, floating
from cogen.merging.method import method
from cogen.merging.methods.ram import changes

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack


def gains(
    stack: Stack, weights: Sequence[float], *, epsilon: float = 1e-5, r: float = 0.1, alpha: float = 0.2
) -> list[float]:
    """For each expert ``1 + r·min(ρ, α)``, ρ the number of its shared changes over that of its unique ones."""

    def counts(block: Block) -> list[tuple[int, int]]:
        found = changes(block, epsilon)
        alone = single(found)
        return [(-int(mask.sum()), -int((mask & alone).sum())) for mask in found]

    parts = list(stack.map(counts))
    found = []
    for index in range(len(weights)):
        every, unique = (sum(part[index][k] for part in parts) for k in range(2))
        found.append(1.0 + r * min((every - unique) / max(unique, 1), alpha))
    return found


def single(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mask of the positions that exactly one mask selects; any value where none does."""
    total = masks[0].clone()
    for mask in masks[1:]:
        total += mask
    # A mask counts as -1, so that one mask and 1 make 0, and more make a negative number.
    return total.add_(1).bitwise_right_shift_(8 * total.element_size() - 1).bitwise_not_()


@method(survey=gains, space={"scale": (0.0, 2.0), "r": (0.0, 1.0), "alpha": (0.0, 1.0)}, source="arXiv:2601.13572")
def ramplus_tl(
    block: Block, weights: Sequence[float], state: list[float], *, scale: float = 1.0, epsilon: float = 1e-5
) -> torch.Tensor:
    """As ``ram``, but what only expert i changed is multiplied by ``1 + r·min(ρᵢ, α)``.

    ρᵢ is the number of the positions that it shares with others over that of its own, counted in this tensor:
    mergekit's ``ramplus_tl``. The authors' code counts over the whole model.
    """
    masks = changes(block, epsilon)
    alone = single(masks)
    divisors = reduce_weights(weights, [weight * gain for weight, gain in zip(weights, state, strict=True)])
    parts = []
    for weight, gain in zip(divisors, state, strict=True):
        dtype = floating(alone.dtype)
        plain, more = bits_of(weight, dtype), bits_of(weight * gain, dtype)
        parts.append((alone & (plain ^ more)).bitwise_xor_(plain).view(dtype))
    return average_masked(block, masks, parts, divisors, scale)
