"""Merging masked differences: their sum, their mean, or only those of the elected sign.

Everything is a sum of coefficients times tensors, not ``base + Σ differences``: ``base + (E - base)`` is not E when
base is much larger than E, ``0·base + 1·E`` is. Two more rules hold bit for bit: a coefficient 0 leaves its tensor
out, as in :func:`cogen.merging.kernels.combine.combine`; where no expert takes part the result is the base.

Masks are those of :mod:`.bits`, however they were made (by magnitude, by chance). They select no difference that is
zero: it has no sign to vote with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from cogen.errors import UsageError
from cogen.merging.kernels.bits import choose, equal, integers, keep
from cogen.merging.kernels.floats import INFINITY, bits_of, floating, keep_, nonzero, unsigned

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block

    #: What multiplies one expert: a number, or a tensor with one for each element.
    Part = float | torch.Tensor


def add_masked(block: Block, masks: Sequence[torch.Tensor], parts: Sequence[Part]) -> torch.Tensor:
    """``base + Σ partsᵢ·maskᵢ·(Eᵢ - base)``."""
    masks = _finite_masks(block, masks)
    return _add(block, masks, parts, _union(masks))


def average_masked(
    block: Block, masks: Sequence[torch.Tensor], parts: Sequence[Part], divisors: Sequence[float], scale: float = 1.0
) -> torch.Tensor:
    """``base + s·Σ partsᵢ·maskᵢ·(Eᵢ - base) / Σ divisorsᵢ·maskᵢ``; with the same parts and divisors a weighted mean."""
    if scale == 0.0:
        return block.required_base
    masks = _finite_masks(block, masks)
    return _average(block, masks, parts, divisors, scale, _union(masks))


def merge_elected(
    block: Block,
    masks: Sequence[torch.Tensor],
    parts: Sequence[Part],
    *,
    election_weights: Sequence[Part] | None = None,
    divisors: Sequence[float] | None = None,
    scale: float = 1.0,
    undecided: str = "base",
) -> torch.Tensor:
    """The sum (with ``divisors``: the mean, see :func:`average_masked`) of those differences whose sign was elected.

    :param election_weights: of the differences in the election; default: the parts.
    :param undecided: where they cancel: ``base`` keeps the base, as the formula of TIES does (sgn 0 = 0);
        ``plus`` takes the positive ones, as mergekit's and peft's code does.
    """
    if scale == 0.0:
        return block.required_base
    masks = _finite_masks(block, masks)
    found, taken = elect_signs(block, masks, parts if election_weights is None else election_weights, undecided)
    if divisors is not None:
        return _average(block, found, parts, divisors, scale, taken)
    return _add(block, found, [part * scale for part in parts], taken)


def elect_signs(
    block: Block, masks: Sequence[torch.Tensor], election_weights: Sequence[Part], undecided: str
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """For each expert the mask of its differences that have the elected sign, and where there was a decision."""
    if undecided not in ("base", "plus"):
        raise UsageError(f"unknown value {undecided!r} of undecided", hint="one of base, plus")
    import torch

    # Without a weight there is no vote: 0 times infinity is NaN.
    pairs = zip(election_weights, masks, strict=True)
    masks = [torch.zeros_like(mask) if is_number(w) and w == 0.0 else mask for w, mask in pairs]
    if _numbers(election_weights):
        alike = len(set(election_weights)) == 1
        signs_only = [math.copysign(1.0, weight) for weight in election_weights]
        election_weights = signs_only if alike else reduce_weights(election_weights, election_weights)
    # In place: memory that is in a core's cache already is several times faster than new memory.
    result, votes = None, []
    for difference, weight, mask in zip(block.differences, election_weights, masks, strict=True):
        vote = keep(difference, mask) if is_number(weight) and weight == 1.0 else keep_(difference * weight, mask)
        votes.append(vote.view(mask.dtype))
        result = vote.clone() if result is None else result.add_(vote)
    assert result is not None
    top, most = 8 * result.dtype.itemsize - 1, unsigned(result.dtype)
    signs = result.view(masks[0].dtype)
    # The top bit of x ^ ~y is set where x and y have the same sign; shifting right spreads it over the number.
    inverse = ~signs
    for vote, mask in zip(votes, masks, strict=True):
        vote.bitwise_xor_(inverse).bitwise_right_shift_(top).bitwise_and_(mask)
    # Infinities of both signs elect nothing: their sum is not a number.
    size = signs.bitwise_and_(most)
    real = size - (INFINITY[result.dtype.itemsize] + 1)
    if undecided == "plus":
        return votes, real.bitwise_right_shift_(top).bitwise_and_(_union(votes))
    return votes, size.neg_().bitwise_and_(real).bitwise_right_shift_(top)


def reduce_weights(weights: Sequence[float], together: Sequence[float]) -> list[float]:
    """Weights times the power of two that brings ``together`` to a sum below 1.

    So that sums of experts near the largest number don't overflow, and no bit of a mantissa changes.
    """
    exponent = math.frexp(math.fsum(map(abs, together)))[1]
    return [math.ldexp(weight, -exponent) for weight in weights]


def is_number(part: Part) -> TypeGuard[float]:
    return isinstance(part, int | float)


def _numbers(parts: Sequence[Part]) -> TypeGuard[Sequence[float]]:
    return all(map(is_number, parts))


def _add(block: Block, masks: Sequence[torch.Tensor], parts: Sequence[Part], taken: torch.Tensor) -> torch.Tensor:
    import torch

    if (total := _total(block, masks, parts)) is None:
        return block.required_base
    # What is left of the base: exact, at 0 for thirds and tenths too, where all experts are selected.
    if not _numbers(parts):
        return _finish(block, total, _sum_selected(masks, parts).neg_().add_(1.0), taken)
    own = torch.full_like(total, 1.0 - math.fsum(parts))
    for mask, part in zip(masks, parts, strict=True):
        own += _keep_part(part, ~mask)
    return _finish(block, total, own, taken)


def _average(
    block: Block,
    masks: Sequence[torch.Tensor],
    parts: Sequence[Part],
    divisors: Sequence[float],
    scale: float,
    taken: torch.Tensor,
) -> torch.Tensor:
    plain = False
    if _numbers(parts):
        plain = list(parts) == list(divisors)
        together = [*parts, *divisors]
        parts, divisors = reduce_weights(parts, together), reduce_weights(divisors, together)
    if (total := _total(block, masks, parts)) is None:
        return block.required_base
    share = _sum_selected(masks, divisors)
    if min(divisors) <= 0.0:  # where the weights cancel nothing is decided
        taken = taken & nonzero(share)
    total /= share
    own: Part = 1.0 - scale
    if not plain:
        own = (_sum_selected(masks, parts) / share).mul_(-scale).add_(1.0)
    if scale != 1.0:
        total *= scale
    return _finish(block, total, own, taken)


def _total(block: Block, masks: Sequence[torch.Tensor], parts: Sequence[Part]) -> torch.Tensor | None:
    """Sum of the selected experts times their parts; ``None`` if every part is the number 0."""
    total = None
    for index, (mask, part) in enumerate(zip(masks, parts, strict=True)):
        if is_number(part) and part == 0.0:
            continue
        # y - 0.0 has the bits of y, also where y is a zero; y + 0.0 would lose a sign.
        term = keep_(block.expert(index) * -part, mask)
        total = term.neg_() if total is None else total.sub_(term)
    return total


def _sum_selected(masks: Sequence[torch.Tensor], parts: Sequence[Part]) -> torch.Tensor:
    """Sum of the selected parts."""
    total = _keep_part(parts[0], masks[0])
    for mask, part in zip(masks[1:], parts[1:], strict=True):
        total += _keep_part(part, mask)
    return total


def _keep_part(part: Part, mask: torch.Tensor) -> torch.Tensor:
    """The part where the mask is set, 0.0 elsewhere."""
    if isinstance(part, int | float):
        dtype = floating(mask.dtype)
        return (mask & bits_of(part, dtype)).view(dtype)
    return keep(part, mask)


def _union(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    found = masks[0]
    for mask in masks[1:]:
        found = found | mask
    return found


def _finish(block: Block, total: torch.Tensor, own: Part, taken: torch.Tensor) -> torch.Tensor:
    """``total + own·base`` where ``taken`` is set, the base elsewhere; ``total`` and ``own`` are overwritten."""
    if not isinstance(own, int | float):
        selected = nonzero(own)
        total -= keep_(own.neg_().mul_(block.required_base), selected)
    elif own != 0.0:
        total += block.required_base * own
    base = _base_or_zero(block)
    left, right = total.view(taken.dtype), base.view(taken.dtype)
    return left.bitwise_xor_(right).bitwise_and_(taken).bitwise_xor_(right).view(total.dtype)


def _base_or_zero(block: Block) -> torch.Tensor:
    """The base. But where it and all experts are zero: the zero with the experts' common sign.

    No difference tells +0 from -0, and yet an expert that is merged alone has to come out bit for bit.
    """
    base = block.required_base
    code, most = integers(base.dtype), unsigned(base.dtype)
    sizes = base.view(code) & most
    if int(sizes.amin()):
        return base
    signs = ~sizes  # the sign bit is set everywhere
    for expert in block.experts:
        sizes |= expert.view(code)
        signs &= expert.view(code)
    zeros = nonzero(sizes.view(base.dtype)).bitwise_not_()
    return choose(zeros, signs.bitwise_and_(~most).view(base.dtype), base)


def _finite_masks(block: Block, masks: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The masks, without the infinities that an expert shares with the base: their difference is not a number."""
    low, high = map(float, block.required_base.aminmax())
    if -math.inf < low and high < math.inf:
        return masks
    return [mask & equal(d, d) for mask, d in zip(masks, block.differences, strict=True)]
