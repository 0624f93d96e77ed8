"""Arcee Fusion: take over the most important changes of another model, leave the others (mergekit 0.1, 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cogen.merging.kernels.bits import choose, integers
from cogen.merging.kernels.elementary import exp, log
from cogen.merging.kernels.quantiles import order_statistics
from cogen.merging.kernels.statistics import folded_sum
from cogen.merging.method import Method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block, Stack

#: Added to every probability before the logarithm: a constant of the published implementation.
EPSILON = 1e-8


class Importance(NamedTuple):
    """What tells important changes: the divergence of every row, shape (rows,) in float64, and the least importance."""

    width: int
    divergences: torch.Tensor
    threshold: float

    def of(self, block: Block) -> torch.Tensor:
        """``|b - a|·KL`` of the block's values, shape (rows, width), float64."""
        import torch

        a, b = (_rows(expert, self.width) for expert in block.experts)
        first = block.start // self.width
        found = (b - a).abs() * self.divergences[first : first + len(a), None]
        return torch.nan_to_num(found, nan=0.0, posinf=torch.inf)


def _rows(tensor: torch.Tensor, width: int) -> torch.Tensor:
    import torch

    return tensor.reshape(-1, width).to(torch.float64)


def probabilities(x: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis, plus :data:`EPSILON`; float64, NaN in a row with an infinity."""
    powers = exp(x - x.amax(-1, keepdim=True))
    return powers / folded_sum(powers)[:, None] + EPSILON


def divergence(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of softmax(b) from softmax(a) for every row, shape (rows,); 0 where undefined."""
    import torch

    p, q = probabilities(b), probabilities(a)
    return torch.nan_to_num(folded_sum(p * log(p / q)), nan=0.0).clamp(min=0.0)


def survey(stack: Stack, weights: Sequence[float]) -> Importance:
    """The divergences of all rows, and the threshold: the median and one and a half times the interquartile range."""
    import torch

    width = stack.shape[-1] if stack.shape else 1

    def one(block: Block) -> torch.Tensor:
        a, b = (_rows(expert, width) for expert in block.experts)
        return divergence(a, b)

    found = list(stack.map(one))
    state = Importance(width, torch.cat(found) if found else torch.zeros(0), 0.0)
    if not found:
        return state
    ranks = [(stack.numel - 1) * quarter // 4 for quarter in (1, 2, 3)]
    low, median, high = order_statistics(stack, state.of, ranks)
    return state._replace(threshold=median + 1.5 * (high - low))


def apply(block: Block, weights: Sequence[float], state: Importance) -> torch.Tensor:
    """The second expert's value b where its change is important, elsewhere the first expert's value a.

    The importance of a value is ``|b - a|`` times the Kullback-Leibler divergence of ``softmax(b)`` from ``softmax(a)``
    in its row (the vectors along the last axis); it is important from ``median + 1.5·(Q₃ - Q₁)`` on, over the tensor.
    The formula is that of mergekit's ``arcee_fusion``, whose quartile is the element of rank ``⌊q(n - 1)⌋``; but the
    quartiles are exact for tensors of any size, where mergekit samples those above a million elements anew at every
    run, and divergences are float64, where mergekit computes them in the stored type. exp and log are CoGen's
    (:mod:`~.kernels.elementary`), so the same values are chosen on every machine. A row with an infinity has
    no importance. Where most values have importance 0 the threshold is 0, and all are taken from b. Weights play no
    part.
    """
    import torch

    a, b = block.experts
    importance = state.of(block).to(torch.float32).to(torch.float64)  # as the threshold's quartiles
    taken = torch.ge(importance, state.threshold, out=torch.empty_like(importance))
    return choose(taken.reshape(a.shape).to(integers(a.dtype)).neg_(), b, a)


arcee_fusion = Method(
    "arcee_fusion",
    apply,
    survey,
    unit="row",
    base="unused",
    experts=(2, 2),
    ordered=True,
    weighted=False,
    source="https://www.arcee.ai/blog/meet-mergekit-v0-1-arcee-fusion-expanded-model-support-multi-gpu-acceleration",
    __doc__=apply.__doc__,
)
