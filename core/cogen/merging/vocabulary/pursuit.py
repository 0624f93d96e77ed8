"""Orthogonal matching pursuit: a vector as a combination of few others (Pati, Rezaiifar, Krishnaprasad, 1993).

arXiv:2506.06607 makes embeddings of new tokens so: the coefficients that combine a token's embedding out of shared
tokens in the donor's space combine those tokens in the model's own space. As in the textbook the atom with the
smallest angle to what is left is taken; the paper's code takes the largest inner product, so that long atoms win.

The same bits everywhere: the matrix product only proposes atoms. Those within its rounding of the best are compared
again with folded sums, and everything after that is element-wise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cogen.merging.kernels.statistics import folded_sum

if TYPE_CHECKING:
    import torch

#: Relative distance to the best inner product under which a matrix product in float64 cannot tell two atoms apart.
_NEAR = 1e-9
#: What is left of a vector, squared and relative, that counts as nothing: rounding of float64.
_NOTHING = 1e-26
#: The same for the part of an atom that is orthogonal to those chosen before.
_DEPENDENT = 1e-20


@dataclass(frozen=True)
class Atoms:
    """Candidates, readable in parts: there may be more than fit into memory.

    :param rows: gives some of them, by number, as float64 of shape (numbers, width).
    :param step: how many are read at a time.
    """

    count: int
    rows: Callable[[np.ndarray], torch.Tensor]
    step: int

    def blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        for start in range(0, self.count, self.step):
            yield start, self.rows(np.arange(start, min(start + self.step, self.count)))

    def lengths(self) -> torch.Tensor:
        """Their Euclidean lengths; those that can never be chosen (zero, not finite) have length infinity."""
        import torch

        found = torch.cat([folded_sum(block * block).sqrt() for _, block in self.blocks()])
        found[~(found.isfinite() & (found > 0))] = float("inf")
        return found


def pursue(
    targets: torch.Tensor, atoms: Atoms, sparsity: int, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Combinations of at most ``sparsity`` atoms that come near the targets.

    :param targets: float64, shape (targets, width).
    :returns: numbers of atoms, shape (targets, steps), -1 where a target needs no more; and their coefficients.
    """
    import torch

    count, steps = len(targets), min(sparsity, atoms.count)
    chosen = torch.full((count, steps), -1, dtype=torch.int64)
    basis: list[torch.Tensor] = []  # orthogonal, not normalised: so that one atom that is the target has exactly 1
    mixing = torch.zeros(count, steps, steps, dtype=torch.float64)  # atom j = basis j + Σ mixing[i, j] · basis i
    heights = torch.zeros(count, steps, dtype=torch.float64)
    left = targets.clone()
    enough = folded_sum(targets * targets) * _NOTHING
    living = folded_sum(left * left) > enough
    for step in range(steps):
        if not living.any():
            break
        best = _best(left, atoms, lengths)
        living &= best >= 0
        atom = atoms.rows(best.clamp(min=0).numpy())
        length, rest = folded_sum(atom * atom), atom.clone()
        for _ in range(2):  # twice is enough (Kahan): the second pass removes what rounding left
            for before, direction in enumerate(basis):
                share = _ratio(folded_sum(rest * direction), folded_sum(direction * direction))
                rest -= share[:, None] * direction
                mixing[:, before, step] += share
        size = folded_sum(rest * rest)
        living &= size > _DEPENDENT * length
        rest[~living] = 0
        heights[:, step] = _ratio(folded_sum(left * rest), folded_sum(rest * rest))
        chosen[living, step] = best[living]
        left -= heights[:, step, None] * rest
        basis.append(rest)
        living &= folded_sum(left * left) > enough
    coefficients = heights
    for step in reversed(range(steps)):
        for before in range(step):
            coefficients[:, before] -= mixing[:, before, step] * coefficients[:, step]
    coefficients[chosen < 0] = 0
    return chosen, coefficients


def _ratio(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Zero where ``lower`` is."""
    return upper / lower.masked_fill(lower == 0, float("inf"))


def _best(left: torch.Tensor, atoms: Atoms, lengths: torch.Tensor) -> torch.Tensor:
    """For every vector the atom with the smallest angle to it, by |<left, atom>| / |atom|; of equals the first."""
    import torch

    top = torch.zeros(len(left), dtype=torch.float64)
    near: list[list[tuple[float, int]]] = [[] for _ in range(len(left))]
    for start, block in atoms.blocks():
        scores = (left @ block.T).abs_().div_(lengths[start : start + len(block)])
        scores.nan_to_num_(0.0, 0.0, 0.0)  # of atoms that are not finite
        top = torch.maximum(top, scores.amax(dim=1))
        close = (scores >= (top * (1 - _NEAR))[:, None]) & (scores > 0)
        for vector, atom in close.nonzero().tolist():
            near[vector].append((float(scores[vector, atom]), start + atom))
    best = torch.full((len(left),), -1, dtype=torch.int64)
    for vector, found in enumerate(near):
        numbers = np.array([number for score, number in found if score >= float(top[vector]) * (1 - _NEAR)])
        if len(numbers) > 1:
            exact = folded_sum(atoms.rows(numbers) * left[vector]).abs() / lengths[torch.from_numpy(numbers)]
            numbers = numbers[exact.numpy() == float(exact.max())]
        if len(numbers):
            best[vector] = int(numbers.min())
    return best
