"""The loss against the number of experts, from measured subsets: its law, and a bootstrap of what is read off it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.evals.law import Law, fit_many, laws_of
from cogen.evals.statistics import Pairs, ratio_of_sums

if TYPE_CHECKING:
    from cogen.evals.law import Array


@dataclass(frozen=True)
class SubsetLoss:
    """One merged subset: (bits, bytes) of each document of every domain, those without an expert in it included."""

    experts: tuple[str, ...]
    domains: Mapping[str, Pairs] = field(repr=False)

    @property
    def size(self) -> int:
        """k, the number of experts."""
        return len(self.experts)

    @property
    def values(self) -> dict[str, float]:
        """Bits per byte of each domain."""
        return {name: ratio_of_sums(pairs) for name, pairs in self.domains.items()}

    @property
    def mean(self) -> float:
        """Of the domains, each with the same weight."""
        return math.fsum(self.values.values()) / len(self.domains)


@dataclass(frozen=True)
class Bounded:
    """A figure with the bounds of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LossCurve:
    """The loss against the number of experts: of the mean of all domains, or of one.

    :param sizes, means: what was measured: k, and the mean loss of the subsets of k experts.
    :param full: predicted for the full set, on other documents of these domains.
    :param same: the same on the documents that were measured: the interval is over subsets alone.
    :param fall: how much less the loss of the full set is than that of one expert.
    """

    law: Law
    sizes: tuple[int, ...]
    means: tuple[float, ...]
    full: Bounded
    same: Bounded
    fall: Bounded
    draws: Array = field(repr=False, compare=False)

    @property
    def changes(self) -> bool:
        """Can the change from one expert to all be told from chance?"""
        return self.fall.low > 0 or self.fall.high < 0


class Resamples:
    """Resampled losses; one set of resamples for all curves."""

    def __init__(self, subsets: Sequence[SubsetLoss], pool: int, resamples: int, confidence: float, seed: int) -> None:
        import numpy as np
        import scipy.stats

        self._subsets, self._pool, self._resamples = subsets, pool, resamples
        self._tails = ((1 - confidence) / 2, (1 + confidence) / 2)
        self._random = np.random.default_rng(seed)
        self._of = {size: [i for i, one in enumerate(subsets) if one.size == size] for size in range(1, pool)}
        self._of = {size: rows for size, rows in self._of.items() if rows}
        # Of few subsets, a spread is itself uncertain: Student's distribution in place of the normal one.
        freedom = sum(len(rows) - 1 for rows in self._of.values())
        student = float(scipy.stats.t.ppf(self._tails[1], freedom) / scipy.stats.norm.ppf(self._tails[1]))
        # What a subset counts for in the mean of its size, in each resample: shape (subsets of the size, resamples).
        # No correction for a pool that is nearly exhausted: with it, intervals held the truth in 76 to 86 % of pools.
        self._shares = {size: 1 / len(rows) + student * self._drawn(len(rows)) for size, rows in self._of.items()}

    def _drawn(self, n: int) -> Array:
        """What ``n`` draws from ``n`` equal things change of their weights, as wide as an unbiased variance."""
        import numpy as np

        if n < 2:
            return np.zeros((n, self._resamples))
        drawn = self._random.multinomial(n, np.full(n, 1 / n), size=self._resamples).T / n
        found: Array = math.sqrt(n / (n - 1)) * (drawn - 1 / n)
        return found

    def losses(self, domain: str) -> tuple[Array, Array]:
        """Bits per byte of each subset, shape (subsets,), and with documents resampled, (subsets, resamples)."""
        import numpy as np

        pairs = np.asarray([one.domains[domain] for one in self._subsets], dtype=np.float64)
        top, bottom = pairs[..., 0], pairs[..., 1]
        values = top.sum(axis=1) / bottom.sum(axis=1)
        n = top.shape[1]
        if n < 2:
            return values, np.repeat(values[:, None], self._resamples, axis=1)
        drawn = self._random.multinomial(n, np.full(n, 1 / n), size=self._resamples).T
        # The figure is widened, not the weights: negative ones could leave a domain without any bytes.
        figures = (top @ drawn) / (bottom @ drawn)
        return values, values[:, None] + math.sqrt(n / (n - 1)) * (figures - values[:, None])

    def curve(self, values: Any, drawn: Any, sizes: Sequence[int], at: int | None = None) -> LossCurve:
        """The curve of losses as :meth:`losses` gives them, through ``sizes``.

        :param at: the size that is predicted; default: the full set.
        """
        import numpy as np

        rows = [self._of[size] for size in sizes]
        means = np.stack([values[of].mean() for of in rows])
        alone = np.stack(
            [(self._shares[size] * values[of][:, None]).sum(0) for size, of in zip(sizes, rows, strict=True)]
        )
        both = np.stack([(self._shares[size] * drawn[of]).sum(0) for size, of in zip(sizes, rows, strict=True)])
        weights = [len(of) * self._precision(size) for size, of in zip(sizes, rows, strict=True)]
        found = fit_many(sizes, np.concatenate([means[:, None], alone, both], axis=1), weights)
        (law,) = laws_of(found[:, :1], sizes[-1])
        only, draws = found[:, 1 : 1 + self._resamples], found[:, 1 + self._resamples :]
        full = float(at or self._pool)
        return LossCurve(
            law=law,
            sizes=tuple(sizes),
            means=tuple(map(float, means)),
            full=self._estimate(law.at(full), _at(draws, full)),
            same=self._estimate(law.at(full), _at(only, full)),
            fall=self._estimate(law.at(1) - law.at(full), _at(draws, 1.0) - _at(draws, full)),
            draws=draws,
        )

    def _precision(self, size: int) -> float:
        """Of one subset's loss, up to a factor: the mean of ``size`` of n things without replacement varies so."""
        return size * (self._pool - 1) / (self._pool - size)

    def _estimate(self, value: float, draws: Array) -> Bounded:
        import numpy as np

        low, high = np.quantile(draws, self._tails)
        return Bounded(value, float(low), float(high))


def _at(parameters: Array, k: float) -> Array:
    """The laws of :func:`~cogen.evals.law.fit_many` at ``k``: shape (columns,)."""
    floor, drop, shift = parameters
    found: Array = floor + drop / (k + shift)
    return found
