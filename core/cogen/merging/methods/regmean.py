"""RegMean: the linear layer that comes nearest to every expert on that expert's own inputs (arXiv:2212.09849)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.errors import UsageError
from cogen.merging.block import Block, Stack
from cogen.merging.kernels.combine import combine
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Regression:
    """``pulls[i]`` is wᵢĜᵢ(Σ wⱼĜⱼ)⁻¹ of shape (in, in), float64: how far expert i pulls the result."""

    pulls: Sequence[torch.Tensor]


def pulls(stack: Stack, weights: Sequence[float], *, grams: Sequence[Any] | None = None, alpha: float = 0.9) -> Any:
    """Solve the normal equations of one layer; ``None`` for tensors without Gram matrices (norms, embeddings)."""
    import torch

    if not 0 <= alpha <= 1:
        raise UsageError(f"regmean: alpha must be between 0 and 1 (got {alpha:g})", hint="the paper uses 0.9")
    if grams is None or any(gram is None for gram in grams) or len(stack.shape) != 2:
        return None
    scaled = []
    for gram, weight in zip(grams, weights, strict=True):
        wide = _tensor(gram).to(torch.float64)
        diagonal = torch.diag(torch.diagonal(wide))
        scaled.append(weight * (alpha * wide + (1.0 - alpha) * diagonal))
    total = torch.stack(scaled).sum(dim=0)
    # Inputs that were never active leave a zero on the diagonal; the ridge makes those the plain mean.
    mean = float(torch.diagonal(total).mean())
    ridge = torch.eye(total.shape[0], dtype=torch.float64) * (1e-6 * mean or 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(total + ridge))
    return Regression([own @ inverse for own in scaled])


def _tensor(gram: Any) -> torch.Tensor:
    from cogen.checkpoints.safetensors_file import TensorInfo, read_tensor

    found: torch.Tensor = read_tensor(gram) if isinstance(gram, TensorInfo) else gram
    return found


@method(survey=pulls, unit="row", base="unused", calibrated=True, per_expert=("grams",), source="arXiv:2212.09849")
def regmean(block: Block, weights: Sequence[float], state: Regression | None) -> torch.Tensor:
    """``W = (Σ wᵢWᵢĜᵢ)(Σ wᵢĜᵢ)⁻¹`` for a linear layer of shape (out, in), Ĝ = α·G + (1 - α)·diag G, G = XᵀX.

    :param grams: for each expert the Gram matrix G of its own inputs to this layer, shape (in, in).

    Computed as mean plus pulls of the differences from it, so that equal experts give themselves. Tensors without Gram
    matrices are averaged, as in the paper. Needs (experts + 1)·in² numbers of 8 bytes. Matrix products are the
    processor's library's: another machine may round the last bit of a result otherwise.
    """
    import torch

    total = math.fsum(weights)
    mean = combine(block, 0.0, [weight / total for weight in weights])
    if state is None:
        return mean
    found = mean.to(torch.float64)
    for expert, pull in zip(block.experts, state.pulls, strict=True):
        found = found + (expert - mean).to(torch.float64) @ pull
    return found.to(mean.dtype)
