"""Intervals by bootstrap over documents, and paired comparison of two models on the same documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from cogen.errors import EvalError
from cogen.evals.settings import Settings

if TYPE_CHECKING:
    from cogen.evals.results import SuiteResult

Pairs = Sequence[tuple[float, float]]


def ratio_of_sums(pairs: Pairs) -> float:
    """The figure of a suite: all numerators over all denominators (bits over bytes; right answers over documents).

    Long documents weigh more in bits per byte, as in lm-eval's aggregation of that name.
    """
    return sum(top for top, _ in pairs) / sum(bottom for _, bottom in pairs)


def by_cluster(pairs: Pairs, clusters: Sequence[str]) -> Pairs:
    """The sums of each cluster, in the order of their first appearance; ``pairs`` themselves without clusters.

    :param clusters: of each pair the cluster that it belongs to, or nothing at all: every pair is one of its own.
    """
    if not clusters:
        return pairs
    sums: dict[str, tuple[float, float]] = {}
    for name, (top, bottom) in zip(clusters, pairs, strict=True):
        before = sums.get(name, (0.0, 0.0))
        sums[name] = before[0] + top, before[1] + bottom
    return list(sums.values())


def interval(pairs: Pairs, settings: Settings, clusters: Sequence[str] = ()) -> tuple[float, float] | None:
    """Percentile bootstrap interval of :func:`ratio_of_sums`; ``None`` for fewer than two documents, or no numbers.

    :param pairs: (numerator, denominator) of each document.
    :param clusters: see :func:`by_cluster`; whole clusters are drawn (Davison and Hinkley 1997, section 3.8).
    """
    top, bottom = zip(*by_cluster(pairs, clusters), strict=True)

    def figure(top: Any, bottom: Any, axis: int = -1) -> Any:
        return top.sum(axis) / bottom.sum(axis)

    return _bootstrap((top, bottom), figure, settings)


@dataclass(frozen=True)
class Comparison:
    """A result against a baseline on the same documents.

    ``low`` and ``high`` bound ``difference`` (result - baseline, in the metric's unit); ``ratio`` is
    result / baseline with bounds of its own, for bits_per_byte only. Bounds are ``None`` with fewer than two
    documents.
    """

    metric: str
    difference: float
    low: float | None
    high: float | None
    n: int
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def gain(self) -> float:
        """Positive = better. Share of the baseline's bits that are saved, or points of accuracy gained."""
        return 1 - self.ratio if self.ratio is not None else self.difference

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``same`` where the interval of the difference holds zero (or there is none)."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "same"
        return "better" if (self.high < 0) == (self.metric == "bits_per_byte") else "worse"


def compare(result: SuiteResult, baseline: SuiteResult, settings: Settings | None = None) -> Comparison:
    """Paired bootstrap by document (:func:`scipy.stats.bootstrap`, ``paired=True``, percentiles, fixed seed).

    Both results draw the same documents in every resample, so what makes a document hard cancels out. Of a suite whose
    items belong to clusters, whole clusters are drawn.

    :raises EvalError: the results are not of the same documents, split, level or metric.
    """
    for name in ("owner", "suite", "metric", "split", "level"):
        if getattr(result, name) != getattr(baseline, name):
            raise EvalError(
                f"results of {name} {getattr(result, name)!r} and {getattr(baseline, name)!r} cannot be compared",
                hint="measure both in the same way",
            )
    if result.documents != baseline.documents or result.n != baseline.n:
        raise EvalError(
            f"{result.owner}/{result.suite}: the two results are not of the same documents",
            hint="models with different tokenizers take other documents at the level quick: use --level full",
        )
    settings = settings or Settings(dtype="")
    # Both are of the same documents; a result of before clusters were kept has none.
    clusters = result.clusters or baseline.clusters
    both = (by_cluster(one.per_document, clusters) for one in (result, baseline))
    columns = list(chain.from_iterable(zip(*pairs, strict=True) for pairs in both))

    def difference(top: Any, bottom: Any, base_top: Any, base_bottom: Any, axis: int = -1) -> Any:
        return top.sum(axis) / bottom.sum(axis) - base_top.sum(axis) / base_bottom.sum(axis)

    def ratio(top: Any, bottom: Any, base_top: Any, base_bottom: Any, axis: int = -1) -> Any:
        return (top.sum(axis) / bottom.sum(axis)) / (base_top.sum(axis) / base_bottom.sum(axis))

    low, high = _bootstrap(columns, difference, settings) or (None, None)
    found = Comparison(result.metric, result.value - baseline.value, low, high, result.n)
    if result.metric != "bits_per_byte" or baseline.value == 0:
        return found
    bounds = _bootstrap(columns, ratio, settings) or (None, None)
    return Comparison(
        found.metric, found.difference, low, high, found.n, result.value / baseline.value, bounds[0], bounds[1]
    )


def mean_ratio_interval(
    results: Sequence[tuple[SuiteResult, SuiteResult]], settings: Settings | None = None
) -> tuple[float, float] | None:
    """Interval of the mean over suites of result / baseline, each paired by document; both of one suite in each tuple.

    The documents (or clusters) of every suite are drawn from that suite, the same for both models: a stratified paired
    bootstrap with percentiles (Davison and Hinkley 1997, section 3.2). ``None`` without a suite, where a suite has
    fewer than two documents, or where a figure is no finite number.
    """
    import numpy as np

    settings = settings or Settings(dtype="")
    generator = np.random.default_rng(settings.seed)
    total = np.zeros(settings.resamples)
    for result, baseline in results:
        clusters = result.clusters or baseline.clusters
        pairs = [by_cluster(one.per_document, clusters) for one in (result, baseline)]
        # Shape (2 models, documents, numerator and denominator).
        figures = np.asarray(pairs, dtype=np.float64)
        n = figures.shape[1]
        if n < 2 or not np.isfinite(figures).all():
            return None
        # How often each document is drawn; shape (resamples, documents).
        drawn = generator.multinomial(n, np.full(n, 1 / n), size=settings.resamples).astype(np.float64)
        sums = drawn @ figures
        values = sums[..., 0] / sums[..., 1]
        total += values[0] / values[1]
    if not results:
        return None
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(total / len(results), (tail, 1 - tail))
    return float(low), float(high)


def _bootstrap(
    columns: Sequence[Sequence[float]], statistic: Callable[..., Any], settings: Settings
) -> tuple[float, float] | None:
    """Percentiles, not BCa: exact under swapping the two models, and defined when all documents agree."""
    import numpy as np
    import scipy.stats

    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if len(arrays[0]) < 2 or not all(np.isfinite(array).all() for array in arrays):
        return None  # a broken model's figures are not numbers: nothing to draw from
    found = scipy.stats.bootstrap(
        arrays,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=settings.resamples,
        # Blocks of about 2 million numbers, so that long suites need no more memory than short ones.
        batch=max(1, 2_000_000 // len(arrays[0])),
        confidence_level=settings.confidence,
        method="percentile",
        rng=np.random.default_rng(settings.seed),
    ).confidence_interval
    return float(found.low), float(found.high)
