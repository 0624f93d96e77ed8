"""The weighted sum in which many methods end, and methods that only compute its coefficients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cogen.merging.block import Block, Stack
from cogen.merging.kernels.bits import keep_term, mask_of
from cogen.merging.method import Method

if TYPE_CHECKING:
    import torch

#: What multiplies the base, and what multiplies each expert: numbers, or columns with one number a row.
Coefficients = tuple[Any, Sequence[Any]]


def combine(block: Block, own: Any, parts: Sequence[Any]) -> torch.Tensor:
    """``own·base + Σ partsᵢ·Eᵢ`` in the block's dtype, in the order given.

    Why coefficients and not differences: ``base + (E - base)`` is not E when base is much larger than E,
    ``0·base + 1·E`` is. A tensor with the coefficient 0 is left out (it is not even read), so that its infinities do
    no harm. Multiplication and addition are separate operations, so no processor fuses them into another rounding.
    """
    import torch

    total = None
    for index, part in [(-1, own), *enumerate(parts)]:
        if not isinstance(part, float):  # the same rules row by row: what a 0 multiplies is left out
            tensor = block.required_base if index < 0 else block.expert(index)
            term = keep_term(tensor * part, mask_of(part != 0, tensor.dtype))
        elif part == 0.0:
            continue
        elif index >= 0:
            term = block.scaled_expert(index, part)
        else:
            base = block.required_base
            term = base.clone() if part == 1.0 else base * part
        total = term if total is None else total.add_(term)
    return torch.zeros_like(block.expert(0)) if total is None else total


def by_coefficients(
    name: str,
    coefficients: Callable[..., Coefficients],
    measure: Callable[[Stack], Any] | None = None,
    **properties: Any,
) -> Method:
    """A method that only computes the coefficients of :func:`combine`.

    :param coefficients: ``f(weights, **parameters)``, or with ``measure`` ``f(measured, weights, **parameters)``.
    :param measure: a property of the tensor that they depend on, for example its Gram matrix.
    """

    def survey(stack: Stack, weights: Sequence[float], **parameters: Any) -> Coefficients:
        measured = () if measure is None else (measure(stack),)
        return coefficients(*measured, weights, **parameters)

    def apply(block: Block, weights: Sequence[float], state: Coefficients) -> torch.Tensor:
        return combine(block, *state)

    keyword = [p for p in inspect.signature(coefficients).parameters.values() if p.kind is p.KEYWORD_ONLY]
    own = [p for p in inspect.signature(survey).parameters.values() if p.kind is not p.VAR_KEYWORD]
    survey.__signature__ = inspect.Signature([*own, *keyword])  # type: ignore[attr-defined]
    return Method(name, apply, survey, looks=measure is not None, __doc__=coefficients.__doc__, **properties)
