"""The law of merging: its least squares find known constants, and it answers what the curve says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.evals.law import STRAIGHT, Law, fit_law, fit_many, laws_of


@settings(deadline=None)
@given(
    floor=st.floats(0.3, 3),
    drop=st.one_of(st.floats(0.05, 2), st.floats(-2, -0.05)),
    shift=st.floats(0, 6),
    largest=st.integers(3, 10),
)
def test_known_constants_are_found(floor: float, drop: float, shift: float, largest: int) -> None:
    """Of losses without noise, whichever way they go; three sizes are enough."""
    law = Law(floor, drop, shift, float(largest))
    sizes = range(1, largest + 1)
    found = fit_law(sizes, [law.at(k) for k in sizes])
    assert found.shift == pytest.approx(shift, rel=1e-2, abs=1e-3)
    assert found.floor == pytest.approx(floor, rel=1e-2)
    assert found.drop == pytest.approx(drop, rel=1e-2)
    assert found.at(2 * largest) == pytest.approx(law.at(2 * largest), rel=1e-4)


def test_noise_is_averaged() -> None:
    """Of many noisy fits, the mean prediction is near the truth, and nearer with less noise."""
    law, sizes = Law(1.0, 0.4, 0.7, 5.0), [1, 2, 3, 4, 5]
    noise = np.random.default_rng(3).normal(size=(5, 4000))
    truth = np.array([law.at(k) for k in sizes])
    errors = []
    for scale in (0.01, 0.002):
        floor, drop, shift = fit_many(sizes, truth[:, None] + scale * noise)
        predicted = floor + drop / (10 + shift)
        assert abs(predicted.mean() - law.at(10)) < 0.5 * scale
        errors.append(predicted.std())
    assert errors[1] < 0.5 * errors[0]


def test_no_other_curve_is_nearer() -> None:
    """The least squares of the fit are at most those of any shift of a fine grid, with weights and without."""
    generator = np.random.default_rng(5)
    sizes = np.array([1.0, 1.0, 2.0, 3.0, 5.0])
    for weights in (np.ones(5), generator.uniform(0.2, 5, 5)):
        losses = generator.uniform(0.5, 1.5, size=(5, 30))
        fits = laws_of(fit_many(sizes, losses, weights), 5)
        for column, law in enumerate(fits):
            error = (weights * (losses[:, column] - [law.at(k) for k in sizes]) ** 2).sum()
            for shift in [0.0, *np.geomspace(1e-3, 100 * STRAIGHT, 400)]:
                design = np.sqrt(weights)[:, None] * np.stack(
                    [np.ones(5), 1 / (sizes + min(shift, STRAIGHT * 5))], axis=1
                )
                residuals = np.linalg.lstsq(design, np.sqrt(weights) * losses[:, column], rcond=None)[1]
                assert error <= residuals[0] * (1 + 1e-6) + 1e-12


def test_a_straight_line_is_called_one() -> None:
    """It has no floor; what it predicts is on the line."""
    law = fit_law([1, 2, 3, 4], [1.4, 1.3, 1.2, 1.1])
    assert law.straight
    assert law.at(5) == pytest.approx(1.0, abs=2e-3)
    assert not fit_law([1, 2, 3], [1 + 1 / k for k in (1, 2, 3)]).straight


def test_how_many_experts_a_target_needs() -> None:
    """The inverse of the curve, and nothing at or below its floor."""
    law = Law(1.0, 0.6, 0.5, 5.0)
    for k in (1, 2.5, 40):
        assert law.experts_for(law.at(k)) == pytest.approx(k)
    assert law.experts_for(2.0) == 1.0
    assert law.experts_for(1.0) == math.inf
    assert Law(1.0, -0.6, 0.5, 5.0).experts_for(0.5) == math.inf  # it rises from 0.6


def test_when_to_stop() -> None:
    """The first number from which one more saves less; none where each saves enough; at once where it rises."""
    law = Law(1.0, 1.0, 0.0, 5.0)
    shares = [(law.at(k) - law.at(k + 1)) / law.at(k) for k in range(1, 10)]
    assert [law.stop(share * 0.999, 10) for share in shares] == [2, 3, 4, 5, 6, 7, 8, 9, None]
    assert Law(1.0, -1.0, 0.0, 5.0).stop(0.0, 10) == 1
