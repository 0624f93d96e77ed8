"""What few measured subsets say of the full set: the law's prediction with its interval, or why there is none.

Intervals are percentiles of a bootstrap over subsets, size by size, and over documents, domain by domain; every subset
draws the same documents. They hold what chance does, not what the law itself is wrong by: :attr:`Prediction.backtest`
shows that on the largest size that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.errors import EvalError
from cogen.evals.law import Law, fit_many, laws_of
from cogen.evals.statistics import Pairs, ratio_of_sums

if TYPE_CHECKING:
    from cogen.evals.law import Array

#: Sizes of subsets that a law with three constants needs at least, and subsets of each size.
SIZES = 3
REPEATS = 2


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
class Count:
    """A number of experts with its bounds; ``None``: no number is large enough."""

    value: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Refusal:
    """Why there is no forecast, in one line, and what to do about it."""

    message: str
    hint: str


@dataclass(frozen=True)
class Backtest:
    """The law of all smaller sizes at the largest one, and what was measured there."""

    size: int
    predicted: Bounded
    measured: float


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


@dataclass(frozen=True)
class Prediction:
    """What the subsets say.

    :param pool: number of experts of the full set.
    :param curve: of the mean of all domains; ``None``: there are too few sizes or subsets for one.
    :param domains: curves of the single domains.
    :param refusal: why ``curve`` predicts nothing, if so.
    :param needed: experts for the target, if there is one; above ``pool`` it takes further experts for granted that are
        like these.
    :param stop: experts from which one more saves less than the least gain; ``None``: each of the pool saves more.
    """

    pool: int
    curve: LossCurve | None
    domains: Mapping[str, LossCurve]
    refusal: Refusal | None
    backtest: Backtest | None = None
    needed: Count | None = None
    stop: Count | None = None


def predict(
    subsets: Sequence[SubsetLoss],
    pool: int,
    *,
    target: float | None = None,
    gain: float = 0.005,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 20240,
) -> Prediction:
    """The law of the subsets, and what it says of all ``pool`` experts.

    :param target: bits per byte, mean of all domains, that experts are counted for.
    :param gain: share of the loss that one more expert must save to pay.
    :raises EvalError: the full set is among the subsets, or they were not measured on the same documents.
    """
    _check(subsets, pool)
    sizes = sorted({one.size for one in subsets})
    if refusal := _too_few(subsets, sizes):
        return Prediction(pool, None, {}, refusal)
    draws = _Draws(subsets, pool, resamples, confidence, seed)
    names = list(subsets[0].domains)
    every = {name: draws.losses(name) for name in names}
    values, drawn = (sum(every[name][i] for name in names) / len(names) for i in (0, 1))
    curve = draws.curve(values, drawn, sizes)
    domains = {name: draws.curve(*every[name], sizes) for name in names}
    back = None
    if len(sizes) > SIZES:
        before = draws.curve(values, drawn, sizes[:-1], at=sizes[-1])
        back = Backtest(sizes[-1], before.same, curve.means[-1])
    refusal = _unclear(curve, pool)
    if refusal:
        return Prediction(pool, curve, domains, refusal, back)
    laws = laws_of(curve.draws, sizes[-1])
    needed = None
    if target is not None:
        needed = _count([law.experts_for(target) for law in (curve.law, *laws)], confidence)
    stops = [law.stop(gain, pool) for law in (curve.law, *laws)]
    stop = _count([math.inf if one is None else one for one in stops], confidence)
    return Prediction(pool, curve, domains, None, back, needed, stop)


def _check(subsets: Sequence[SubsetLoss], pool: int) -> None:
    if any(one.size >= pool for one in subsets):
        raise EvalError("the full set is among the subsets", hint="predict it first, then measure it")
    shapes = {tuple((name, len(pairs)) for name, pairs in one.domains.items()) for one in subsets}
    if len(shapes) > 1:
        raise EvalError("the subsets were measured on different documents", hint="measure all in the same way")


def _too_few(subsets: Sequence[SubsetLoss], sizes: Sequence[int]) -> Refusal | None:
    odd = next((one for one in subsets if not math.isfinite(one.mean)), None)
    if odd is not None:
        return Refusal(
            f"the model of {', '.join(odd.experts)} has no finite bits per byte",
            "leave an expert out, or choose another method",
        )
    if len(sizes) < SIZES:
        return Refusal(
            f"subsets of {len(sizes)} {'size' if len(sizes) == 1 else 'sizes'} say nothing of others: a law with a "
            f"floor needs {SIZES}",
            "measure more sizes with --up-to",
        )
    least = min(sizes, key=lambda size: sum(one.size == size for one in subsets))
    if sum(one.size == least for one in subsets) < REPEATS:
        return Refusal(
            f"one subset of {least} experts has no spread, so there is no interval", "measure more with --subsets"
        )
    return None


def _unclear(curve: LossCurve, pool: int) -> Refusal | None:
    """Is there a change, and is it larger than what the prediction is uncertain by?"""
    fall, first = curve.fall, curve.law.at(1)
    shown = f"{fall.value:+.4f} [{fall.low:+.4f}, {fall.high:+.4f}] bits per byte"
    if not curve.changes:
        return Refusal(
            f"no fall from 1 to {pool} experts can be told from chance: {shown} of {first:.4f}",
            "measure more --subsets or --documents, or choose another method or --total",
        )
    width = curve.same.high - curve.same.low
    if width > abs(fall.value):
        return Refusal(
            f"the prediction is uncertain by {width:.4f} bits per byte, more than the fall of {abs(fall.value):.4f}",
            "measure more sizes with --up-to, or more --subsets",
        )
    return None


class _Draws:
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
        weights = 1 / n + self._drawn(n)
        return values, (top @ weights) / (bottom @ weights)

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


def _count(found: Sequence[float], confidence: float) -> Count:
    """The first number, rounded up, with percentiles of the others; infinite ones are larger than all."""
    draws = sorted(found[1:])
    places = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = (draws[min(len(draws) - 1, int(place * len(draws)))] for place in places)
    return Count(*(None if math.isinf(one) else math.ceil(one - 1e-9) for one in (found[0], low, high)))
