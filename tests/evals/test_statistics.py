"""Laws of the bootstrap by document."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.errors import EvalError
from cogen.evals import SuiteResult, compare
from cogen.evals.settings import Settings
from cogen.evals.statistics import by_cluster, interval, mean_ratio_interval, ratio_of_sums

SETTINGS = Settings(dtype="float32")
Make = Callable[..., SuiteResult]


def draw(seed: int, n: int, factor: float = 1.0) -> list[tuple[float, float]]:
    """n documents of 50 to 500 bytes at about ``factor`` bits a byte."""
    source, noise = random.Random(99), random.Random(seed)
    return [(b * factor * (1 + 0.05 * noise.random()), b) for b in (float(source.randrange(50, 500)) for _ in range(n))]


@pytest.fixture
def make() -> Make:
    """A result with the given (numerator, denominator) pairs."""

    def build(pairs: list[tuple[float, float]], metric: str = "bits_per_byte", **changes: Any) -> SuiteResult:
        low, high = interval(pairs, SETTINGS) or (None, None)
        values: dict[str, Any] = {
            "owner": "power",
            "suite": "heldout",
            "metric": metric,
            "split": "test",
            "level": "full",
            "value": ratio_of_sums(pairs),
            "n": len(pairs),
            "low": low,
            "high": high,
            "per_document": tuple(pairs),
            "documents": "same",
            "tokens": 1,
            "seconds": 0.0,
            "key": "k",
        }
        return SuiteResult(**(values | changes))

    return build


def test_a_model_against_itself_differs_by_nothing(make: Make) -> None:
    """Identical rows: difference 0, ratio 1, and both intervals are that one point."""
    found = compare(make(draw(1, 40)), make(draw(1, 40)))
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.ratio, found.ratio_low, found.ratio_high) == (1, 1, 1)
    assert (found.gain, found.verdict) == (0, "same")


def test_swapping_the_models_mirrors_the_comparison(make: Make) -> None:
    """compare(a, b) has the mirrored difference and interval of compare(b, a), and the inverse ratio and bounds."""
    a, b = make(draw(1, 40)), make(draw(2, 40, 1.02))
    one, two = compare(a, b), compare(b, a)
    assert (one.difference, one.low, one.high) == pytest.approx((-two.difference, -two.high, -two.low))
    inverse = (1 / two.ratio, 1 / two.ratio_high, 1 / two.ratio_low)  # type: ignore[operator]
    # to the step between two neighbouring resamples, between which a percentile is interpolated
    assert (one.ratio, one.ratio_low, one.ratio_high) == pytest.approx(inverse, rel=1e-4)


def test_a_clear_gain_is_found_and_noise_is_not(make: Make) -> None:
    """10 % fewer bits on every document is better, 10 % more is worse, noise around zero is neither."""
    base = make(draw(1, 60))
    assert compare(make(draw(2, 60, 0.9)), base).verdict == "better"
    assert compare(make(draw(2, 60, 0.9)), base).gain == pytest.approx(0.1, abs=0.01)
    assert compare(make(draw(2, 60, 1.1)), base).verdict == "worse"
    assert compare(make(draw(2, 60)), base).verdict == "same"


def test_for_accuracy_more_is_better(make: Make) -> None:
    """The verdict follows the metric's direction; there is no ratio."""
    right = [(1.0, 1.0)] * 25 + [(0.0, 1.0)] * 5
    found = compare(make(right, "acc"), make([(0.0, 1.0)] * 20 + [(1.0, 1.0)] * 10, "acc"))
    assert (found.verdict, found.ratio) == ("better", None)
    assert found.gain == pytest.approx(0.5)


def test_pairing_narrows_the_interval(make: Make) -> None:
    """Documents of very different difficulty: the paired interval is far narrower than either model's own."""
    hard = [(b * (0.5 + i % 7), b) for i, (_, b) in enumerate(draw(1, 50))]
    better = [(bits * 0.97, b) for bits, b in hard]
    a, b = make(better), make(hard)
    found = compare(a, b)
    assert found.high is not None
    assert found.low is not None
    assert (found.high - found.low) * 5 < b.high - b.low  # type: ignore[operator]
    assert found.verdict == "better"


def test_an_interval_is_fixed_and_holds_its_value() -> None:
    """Same pairs, same interval, to the last bit; it holds the figure, and is wider with fewer documents."""
    pairs = draw(3, 200)
    low, high = interval(pairs, SETTINGS)  # type: ignore[misc]
    assert interval(pairs, SETTINGS) == (low, high)
    assert low < ratio_of_sums(pairs) < high
    few_low, few_high = interval(pairs[:10], SETTINGS)  # type: ignore[misc]
    assert few_high - few_low > high - low


def test_the_bootstrap_agrees_with_the_normal_approximation() -> None:
    """For 400 right-or-wrong documents the interval is p ± 1.96 √(p(1-p)/n), to a tenth of its width."""
    pairs = [(1.0, 1.0)] * 300 + [(0.0, 1.0)] * 100
    low, high = interval(pairs, SETTINGS)  # type: ignore[misc]
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=half / 5)


def test_one_document_has_no_interval(make: Make) -> None:
    """n = 1 says nothing about the next document: no bounds, and no verdict."""
    assert interval([(3.0, 2.0)], SETTINGS) is None
    found = compare(make([(1.0, 2.0)]), make([(3.0, 2.0)]))
    assert (found.low, found.high, found.ratio_low, found.verdict) == (None, None, None, "same")
    assert found.difference == -1


@pytest.mark.parametrize(
    "change", [{"split": "dev"}, {"level": "quick"}, {"metric": "acc"}, {"suite": "x"}, {"documents": "x"}]
)
def test_only_equal_measurements_compare(change: dict[str, str], make: Make) -> None:
    """Dev against test, quick against full, or other documents: an EvalError."""
    pairs = draw(1, 5)
    with pytest.raises(EvalError) as caught:
        compare(make(pairs), make(pairs, **change))
    assert caught.value.hint


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.5, 5)), min_size=2, max_size=12), st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_clusters_are_drawn_whole(pairs: list[tuple[float, float]], copies: int) -> None:
    """Clusters of one pair each change nothing; a cluster of copies says no more than one of them."""
    own = Settings(dtype="float32")
    names = [str(number) for number in range(len(pairs))]
    assert interval(pairs, own, names) == interval(pairs, own)
    many = [pair for pair in pairs for _ in range(copies)]
    found, expected = interval(many, own, [name for name in names for _ in range(copies)]), interval(pairs, own)
    assert found == pytest.approx(expected)
    assert interval(many, own, ["one"] * len(many)) is None
    total = by_cluster(many, [str(number % 3) for number in range(len(many))])
    assert ratio_of_sums(total) == pytest.approx(ratio_of_sums(pairs))


def test_the_mean_over_suites_of_one_suite_is_that_of_the_suite(make: Make) -> None:
    """The same documents drawn in another order of random numbers: the bounds of ``compare`` within their own noise."""
    both = make(draw(1, 200)), make(draw(2, 200, 1.02))
    alone = compare(*both)
    found = mean_ratio_interval([both])
    assert found == pytest.approx((alone.ratio_low, alone.ratio_high), abs=1e-3)
    assert found == mean_ratio_interval([both])  # the seed is fixed


def test_the_mean_over_suites(make: Make) -> None:
    """Two suites that change by the same factor on every document: no width. More suites: a narrower interval."""
    flat = [(make([(2 * top, low) for top, low in draw(seed, 9)]), make(draw(seed, 9))) for seed in (1, 2)]
    assert mean_ratio_interval(flat) == pytest.approx((2, 2))
    one = make(draw(1, 30)), make(draw(2, 30))
    low, high = mean_ratio_interval([one]) or (0.0, 0.0)
    narrow_low, narrow_high = mean_ratio_interval([one] * 4) or (0.0, 0.0)
    # Four suites are drawn each for itself: half the width.
    assert (narrow_high - narrow_low) / (high - low) == pytest.approx(0.5, abs=0.05)
    short = make([(1.0, 2.0)])
    assert mean_ratio_interval([one, (short, short)]) is None
    assert mean_ratio_interval([]) is None
    broken = make([(float("nan"), 2.0), (1.0, 2.0)])
    assert mean_ratio_interval([(broken, broken)]) is None
