"""Evidence for many experts in few dimensions: E ≈ U V, the best of that rank for the tokens that occur.

A token's evidence for a thousand experts is far from a thousand independent numbers: fields share words. The matrix
E of shape (tokens, experts) is projected onto the leading right singular vectors of ``diag(√p) E``, with p the
frequency of each token, so that frequent tokens are kept best (Eckart and Young, 1936). Averages over a prefix, and
the routers' logits, are linear in evidence, so that they can be read from the projection.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Tokens at a time: 32 MB for a thousand experts.
_CHUNK = 4096


def factors(evidence: torch.Tensor, weights: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(U of shape (tokens, rank), V of shape (experts, rank)), float64.

    U is divided by √(experts / rank), and V multiplied: as large as the evidence of so many experts as there are
    dimensions, it disturbs norms no more than theirs would.

    :param evidence: shape (tokens, experts); ``weights``: of each token, shape (tokens,), not negative.
    :param rank: at most the number of experts.
    """
    import torch

    found = readouts(evidence, weights, rank)
    scale = math.sqrt(evidence.shape[1] / rank)
    features = [part.double() @ found / scale for part in evidence.split(_CHUNK)]
    return torch.cat(features), found * scale


def readouts(evidence: torch.Tensor, weights: torch.Tensor, rank: int) -> torch.Tensor:
    """V of shape (experts, rank) with orthonormal columns, float64; see :func:`factors`."""
    import torch

    experts = evidence.shape[1]
    gram = torch.zeros(experts, experts, dtype=torch.float64)
    for part, mass in zip(evidence.split(_CHUNK), weights.split(_CHUNK), strict=True):
        rows = part.double()
        gram += rows.T @ (rows * mass[:, None].double())
    _, vectors = torch.linalg.eigh(gram)
    found = vectors[:, -rank:].flip(1)
    # A vector's sign is arbitrary: its largest entry is positive, whatever the library returns.
    largest = found.abs().argmax(0)
    return found * torch.sign(found[largest, torch.arange(rank)])
