"""What few measured subsets say of the full set: the law's prediction with its interval, or why there is none.

Intervals are percentiles of a bootstrap over subsets, size by size, and over documents, domain by domain; every subset
draws the same documents. They hold what chance does, not what the law itself is wrong by: :attr:`Prediction.backtest`
shows that on the largest size that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cogen.errors import EvalError
from cogen.evals.curves import Bounded, LossCurve, Resamples, SubsetLoss
from cogen.evals.law import laws_of

#: Sizes of subsets that a law with three constants needs at least, and subsets of each size.
SIZES = 3
REPEATS = 2


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
    draws = Resamples(subsets, pool, resamples, confidence, seed)
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


def _count(found: Sequence[float], confidence: float) -> Count:
    """The first number, rounded up, with percentiles of the others; infinite ones are larger than all."""
    draws = sorted(found[1:])
    places = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = (draws[min(len(draws) - 1, int(place * len(draws)))] for place in places)
    return Count(*(None if math.isinf(one) else math.ceil(one - 1e-9) for one in (found[0], low, high)))
