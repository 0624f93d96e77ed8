"""The extra head of the first layer: constant query and key vectors whose scores are the kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.errors import CompatibilityError
from cogen.routing.kernel import DEPTH, LEAST_DEPTH, Kernel, Rotary, fit_kernel

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Norms:
    """Weights of the norms of queries and keys (Qwen3), shape (head_dim,), and their epsilon in the mixture."""

    query: np.ndarray
    key: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class ExtraHead:
    """What the projections give, before norms and rotation, each of shape (head_dim,).

    :param query: of every token but the prefix token; ``key``: of the same; ``sink``: key of the prefix token.
    """

    query: np.ndarray
    key: np.ndarray
    sink: np.ndarray


def planned_kernel(rotary: Rotary, mass: float, norms: Norms | None) -> Kernel:
    """The kernel of full depth; where norms bound the scores, the deepest that they allow.

    :param mass: what the prefix token weighs against the newest token.
    :raises CompatibilityError: none is deep enough.
    """
    depth = DEPTH
    while depth >= LEAST_DEPTH:
        kernel = fit_kernel(rotary, depth)
        if norms is None or fits(kernel, mass, norms):
            return kernel
        depth -= 0.5
    raise CompatibilityError(
        "routing prefix: the norms of queries and keys in the base's first layer bound the scores of an extra head so "
        "much that it could not forget",
        hint="choose another --routing, e.g. hidden",
    )


def extra_head(kernel: Kernel, mass: float, norms: Norms | None) -> ExtraHead:
    """Vectors whose scores at distance d are ``Σ aᵢ cos(θᵢ d)``, and ``log(mass) + Σ aᵢ`` for the prefix token.

    A pair's product is split evenly over query and key, so that no weight is larger than needed: one scale for a whole
    tensor (fp8) then leaves the base's own weights their digits.
    """
    import numpy as np

    half = kernel.rotary.half
    places, products, sunk = _products(kernel, mass, norms)
    query, key, sink = (np.zeros(2 * half) for _ in range(3))
    low = half - 1
    if norms is None:
        query[places] = key[places] = np.sqrt(products)
        query[low] = sink[low] = math.sqrt(sunk)
        return ExtraHead(query, key, sink)
    # Norms make every vector as long as all others: what the kernel does not need goes where the other one is zero.
    length = 2 * half * (1.0 - norms.epsilon)
    signs = np.sign(norms.query * norms.key)
    total = products.sum()
    query[places] = np.sqrt(products * total / length) * signs[places]
    key[places] = np.sqrt(products * length / total)
    sink[low] = math.sqrt(length)
    query[low] = sunk / math.sqrt(length) * signs[low]
    query[half - 2] = math.sqrt(length - float(query @ query))
    return ExtraHead(query, key, sink)


def _products(kernel: Kernel, mass: float, norms: Norms | None) -> tuple[np.ndarray, np.ndarray, float]:
    """(dimensions that carry the kernel, query times key in each of them, the same product of the prefix token)."""
    import numpy as np

    half = kernel.rotary.half
    unit = math.sqrt(2 * half) / kernel.rotary.scaling**2
    used = np.nonzero(kernel.amplitudes)[0]
    sunk = (math.log(mass) + float(kernel.amplitudes.sum())) * unit
    if norms is None:
        return used, kernel.amplitudes[used] * unit, sunk
    gains = np.abs(norms.query * norms.key)
    # Both dimensions of a pair turn alike: the one with the larger weights needs less of the vectors' length.
    places = np.where(gains[used] >= gains[used + half], used, used + half)
    with np.errstate(divide="ignore"):
        return places, kernel.amplitudes[used] * unit / gains[places], float(sunk / gains[half - 1])


def fits(kernel: Kernel, mass: float, norms: Norms) -> bool:
    """Whether norms that make every vector as long as all others leave room for the kernel's scores."""
    _, products, sunk = _products(kernel, mass, norms)
    length = 2 * kernel.rotary.half * (1.0 - norms.epsilon)
    return bool(products.sum() ** 2 / length + sunk**2 / length <= length)
