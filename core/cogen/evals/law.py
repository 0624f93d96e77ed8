"""The law of merging: the expected loss of k merged experts is a floor and a tail, ``floor + drop / (k + shift)``.

Wang et al., "Model Merging Scaling Laws in Large Language Models" (arXiv:2509.24244), found it for averages, task
arithmetic, TIES and DARE, over random subsets of a pool of experts and measured on the domains of all of them. For an
average of k task vectors it follows from the second order of the loss: the mean of k of n vectors has a covariance that
falls like 1/k, and so does what it costs.

Here are the curve and its least squares; what it predicts, with intervals, is in :mod:`cogen.evals.forecast`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

#: The largest shift that is looked at, in multiples of the largest k: with it the curve is a straight line.
STRAIGHT = 100.0
_GRID = 96
_HALVINGS = 48
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Law:
    """``floor + drop / (k + shift)`` bits per byte (or any other loss) of k experts.

    :param drop: what falls with k; negative where the loss rises.
    :param shift: at least 0; how late the fall begins.
    :param largest: the largest k of the observations.
    """

    floor: float
    drop: float
    shift: float
    largest: float

    def at(self, k: float) -> float:
        """The expected loss of ``k`` experts."""
        return self.floor + self.drop / (k + self.shift)

    @property
    def straight(self) -> bool:
        """Does the loss change in a straight line as far as it was observed? Then ``floor`` means nothing."""
        return self.shift >= 0.99 * STRAIGHT * self.largest

    def experts_for(self, target: float) -> float:
        """The least k, at least 1 and no whole number, whose loss is at most ``target``; infinite: none has."""
        if self.at(1) <= target:
            return 1.0
        if self.drop <= 0 or target <= self.floor:
            return math.inf
        return self.drop / (target - self.floor) - self.shift

    def stop(self, gain: float, most: int) -> int | None:
        """The first k below ``most`` from which one more expert saves less than the share ``gain`` of the loss.

        ``None``: the last one, too, saves as much.
        """
        return next((k for k in range(1, most) if self.at(k) - self.at(k + 1) < gain * self.at(k)), None)


def fit_law(sizes: Sequence[float], losses: Sequence[float], weights: Sequence[float] | None = None) -> Law:
    """The law with the least weighted squares.

    :param sizes: k of each observation: at least three different ones, or the law is not determined.
    :param weights: inverse variances, up to a factor; default: equal.
    """
    import numpy as np

    (law,) = laws_of(fit_many(sizes, np.asarray(losses, dtype=np.float64)[:, None], weights), max(sizes))
    return law


def laws_of(parameters: Array, largest: float) -> list[Law]:
    """The columns that :func:`fit_many` gives."""
    return [Law(float(floor), float(drop), float(shift), float(largest)) for floor, drop, shift in parameters.T]


def fit_many(sizes: Sequence[float], losses: Array, weights: Sequence[float] | None = None) -> Array:
    """One law for each column of ``losses``: floor, drop and shift, shape (3, columns).

    For a given shift the law is linear in floor and drop, and what its tail explains of the losses is the square of
    their projection on one direction. That is looked for on a grid of shifts, then by golden section.

    :param losses: shape (observations, columns).
    """
    import numpy as np

    k = np.asarray(sizes, dtype=np.float64)
    root = np.sqrt(np.ones_like(k) if weights is None else np.asarray(weights, dtype=np.float64))
    mean = (root**2 @ losses) / (root**2).sum()
    centred = root[:, None] * (losses - mean)
    # The shift in a scale in which a step means about the same everywhere: of 1 + shift, the logarithm.
    top = math.log1p(STRAIGHT * float(k.max()))
    grid = np.linspace(0.0, top, _GRID)
    best = np.abs(_directions(k, root, np.expm1(grid)).T @ centred).argmax(axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _GRID - 1)]

    def explained(at: Any) -> Any:
        return np.abs((_directions(k, root, np.expm1(at)) * centred).sum(axis=0))

    for _ in range(_HALVINGS):
        inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        left = explained(inner) >= explained(outer)
        low, high = np.where(left, low, inner), np.where(left, outer, high)
    middle = (low + high) / 2
    # The section never reaches the ends of the scale, which are fits of their own: a pure 1/k, and a straight line.
    candidates = np.stack([np.zeros_like(middle), middle, np.full_like(middle, top)])
    order = np.stack([explained(one) for one in candidates]).argmax(axis=0)
    shift = np.expm1(np.take_along_axis(candidates, order[None], axis=0)[0])
    tail = 1.0 / (k[:, None] + shift)
    level = (root**2 @ tail) / (root**2).sum()
    spread = root[:, None] * (tail - level)
    drop = (spread * centred).sum(axis=0) / (spread**2).sum(axis=0)
    found: Array = np.stack([mean - drop * level, drop, shift])
    return found


def _directions(k: Array, root: Array, shifts: Array) -> Array:
    """What the tail looks like with each shift: weighted, centred, of length one; shape (observations, shifts)."""
    import numpy as np

    # Scaled to 1 at the first k: of a large shift, the plain tail would keep few digits.
    tail = (k.min() + shifts) / (k[:, None] + shifts)
    spread = root[:, None] * (tail - (root**2 @ tail) / (root**2).sum())
    length = np.sqrt((spread**2).sum(axis=0))
    found: Array = spread / np.where(length > 0, length, 1.0)
    return found
