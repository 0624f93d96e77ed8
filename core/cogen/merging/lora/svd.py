"""The best approximation of a matrix by two factors: truncated SVD, exact or randomised.

Eckart and Young (Psychometrika 1, 1936): of all matrices of rank r, the first r singular triples have the least error,
and its squared Frobenius norm is the sum of the squares of the singular values that are left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Columns of the random sketch beyond the rank, and rounds of power iteration (Halko, Martinsson and Tropp, 2011, name
#: 5 to 10 and 1 to 3 for spectra that fall quickly; those of fine-tunes have long flat tails).
OVERSAMPLING, ITERATIONS = 16, 6
#: Matrices whose smaller side is at most this are decomposed exactly.
SMALL = 256
#: Elements that are worked on at a time where a result needs no whole copy.
_CHUNK = 1 << 22


def factorize(
    matrix: torch.Tensor, *, rank: int | None = None, energy: float | None = None, name: str = "", seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """``matrix`` (m, n) ≈ B·A as (A of shape (r, n), B of shape (m, r)), each with the roots of the singular values.

    :param rank: r, at most min(m, n).
    :param energy: instead of a rank the share of the squared Frobenius norm to keep, in (0, 1]: r is the smallest that
        does by the singular values found. Those of a randomised SVD never exceed the true ones, so r may then be larger
        than the true smallest rank; it is never too small.
    :param name: with ``seed`` it decides the random sketch, whatever was factorize before.

    Signs are fixed (the largest entry of each row of A is positive). The same bits for the same library, processor and
    number of threads: matrix products are used, whose rounding differs between those.
    """
    small = min(matrix.shape)
    if rank is not None:
        u, s, vh = _leading(matrix, min(rank, small), name, seed)
        kept = min(rank, small)
    else:
        assert energy is not None  # the callers give one of the two
        total, sketch = squared_norm(matrix), 32
        while True:
            u, s, vh = _leading(matrix, min(sketch, small), name, seed)
            found = _smallest(s, total if len(s) < small else None, energy)
            if found is not None:
                kept = found
                break
            sketch *= 4
    u, s, vh = u[:, :kept], s[:kept], vh[:kept]
    largest = vh.gather(1, vh.abs().argmax(dim=1, keepdim=True))
    root = s.sqrt()
    signs = largest.sign().T  # (1, r); never 0: rows have norm 1
    return root[:, None] * vh * signs.T, u * root * signs


def _smallest(values: torch.Tensor, total: float | None, energy: float) -> int | None:
    """The smallest rank that keeps the share ``energy``; ``None`` if these values don't reach it.

    :param total: the squared norm, where ``values`` are not all of the matrix's.
    """
    # squares[k]: what a rank of k leaves of them
    squares: list[float] = values.double().square().flip(0).cumsum(0).flip(0).tolist()
    whole = squares[0] if total is None else total
    beyond = 0.0 if total is None else max(0.0, total - squares[0])
    for count, left in enumerate([*squares[1:], 0.0], start=1):
        if left + beyond <= (1 - energy) * whole:
            return count
    return len(values) if total is None else None


def _leading(matrix: torch.Tensor, count: int, name: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """At least ``count`` leading singular triples; all of them where a sketch would not save work."""
    import torch

    if min(matrix.shape) <= max(SMALL, 3 * (count + OVERSAMPLING)):
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u, s, vh
    u, s, vh = randomized_svd(matrix, count + OVERSAMPLING, name, seed)
    return u[:, :count], s[:count], vh[:count]


def randomized_svd(
    matrix: torch.Tensor, width: int, name: str, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Singular triples of the projection on a subspace of ``width`` dimensions.

    Randomised subspace iteration (arXiv:0909.4061, algorithms 4.4 and 5.1), orthogonalised after every product, so
    that small singular values are not lost in rounding. A matrix of rank at most ``width`` is restored to rounding.
    """
    import numpy as np
    import torch

    key = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:16], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    sketch = torch.from_numpy(generator.standard_normal((matrix.shape[1], width))).to(matrix.dtype)
    basis = torch.linalg.qr(matrix @ sketch).Q
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    u, s, vh = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ u, s, vh


def squared_norm(matrix: torch.Tensor) -> float:
    """Squared Frobenius norm, summed in float64."""
    return math.fsum(float(rows.double().square().sum()) for rows in _chunks(matrix))


def squared_error(matrix: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> float:
    """``‖matrix - B·A‖²`` in the matrix's dtype, summed in float64: the measured loss, not an estimate."""
    wide = a.to(matrix.dtype)
    parts = zip(_chunks(matrix), _chunks(b.to(matrix.dtype), matrix.shape[1]), strict=True)
    return math.fsum(float((rows - left @ wide).double().square().sum()) for rows, left in parts)


def _chunks(matrix: torch.Tensor, columns: int | None = None) -> Iterator[torch.Tensor]:
    """Blocks of rows, as many in each as :data:`_CHUNK` elements of ``columns`` (default: the matrix's) need."""
    step = max(1, _CHUNK // (columns or matrix.shape[1]))
    return (matrix[start : start + step] for start in range(0, matrix.shape[0], step))
