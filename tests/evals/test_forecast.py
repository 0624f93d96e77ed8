"""What measured subsets say of the full set: intervals that hold what they promise, and refusals where they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from cogen.errors import EvalError
from cogen.evals.curves import SubsetLoss
from cogen.evals.forecast import Prediction, predict
from cogen.evals.law import Law
from cogen.runs.subsets import balanced_subsets


def subsets(
    law: Law,
    pool: int,
    sizes: int,
    number: int,
    seed: int,
    *,
    spread: float = 0.02,
    documents: int = 6,
    hardness: float = 0.2,
) -> tuple[list[SubsetLoss], float]:
    """Subsets whose expected loss follows ``law``, and the loss of the full set on the same documents.

    :param spread: standard deviation between subsets of one expert; it shrinks with the root of the size.
    :param hardness: standard deviation between documents, which all subsets share.
    """
    random = np.random.default_rng(seed)
    names = [f"d{i}" for i in range(pool)]
    hard = {name: random.normal(0, hardness, documents) for name in names}
    length = {name: random.integers(400, 1200, documents).astype(float) for name in names}
    found = []
    for size in range(1, sizes + 1):
        for _ in range(number):
            own = law.at(size) + random.normal(0, spread / size**0.5)
            domains = {name: tuple(zip((own + hard[name]) * length[name], length[name], strict=True)) for name in names}
            found.append(SubsetLoss(tuple(map(str, range(size))), domains))
    shift = np.mean([(hard[name] * length[name]).sum() / length[name].sum() for name in names])
    return found, law.at(pool) + float(shift)


def quadratic_pool(pool: int, sizes: int, seed: int, documents: int = 6) -> tuple[list[SubsetLoss], list[float]]:
    """Averages of task vectors in a quadratic bowl for each domain, whose expected loss is the law itself.

    :returns: subsets, and what is true: the full set on the same documents, on all documents, and its fall.
    """
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(pool, 8)) * 0.2
    names = [f"d{i}" for i in range(pool)]
    hard = random.normal(0, 0.2, (pool, documents))
    length = random.integers(400, 1200, (pool, documents)).astype(float)

    def losses(members: list[int]) -> np.ndarray:
        """Of each domain, before its documents are hard or easy: shape (domains,)."""
        return 1.0 + ((vectors[members].mean(axis=0) - vectors) ** 2).sum(axis=1)

    found = []
    for size in range(1, sizes + 1):
        for ids in balanced_subsets(list(map(str, range(pool))), size, pool, seed):
            own = losses(list(map(int, ids)))[:, None] + hard
            pairs = [tuple(zip(row * n, n, strict=True)) for row, n in zip(own, length, strict=True)]
            found.append(SubsetLoss(ids, dict(zip(names, pairs, strict=True))))
    full = float(losses(list(range(pool))).mean())
    one = float(np.mean([losses([i]).mean() for i in range(pool)]))
    return found, [full + float(((hard * length).sum(1) / length.sum(1)).mean()), full, one - full]


@pytest.mark.parametrize(("pool", "sizes"), [(5, 3), (10, 5)])
def test_intervals_hold_what_they_promise(pool: int, sizes: int) -> None:
    """In most of 100 made-up pools, the 95 % intervals hold the truth: on these documents, on others, of the fall."""
    held = np.zeros(3)
    for seed in range(100):
        measured, truths = quadratic_pool(pool, sizes, seed)
        curve = predict(measured, pool, resamples=300).curve
        for i, (bounds, truth) in enumerate(zip((curve.same, curve.full, curve.fall), truths, strict=True)):
            held[i] += bounds.low <= truth <= bounds.high
    assert (held >= 86).all()


def test_without_noise_the_prediction_is_exact() -> None:
    """Law, full set, target, stop and backtest are those of the curve, and intervals over subsets have no width."""
    law = Law(0.9, 0.5, 1.0, 4.0)
    measured, same = subsets(law, 10, 4, 5, 1, spread=0.0)
    offset = same - law.at(10)
    found = predict(measured, 10, target=law.at(6) + offset + 1e-6, gain=0.012)
    curve = found.curve
    assert found.refusal is None
    assert curve.law.shift == pytest.approx(1.0, abs=1e-4)
    assert (curve.same.low, curve.same.value, curve.same.high) == pytest.approx((same, same, same))
    assert curve.full.high - curve.full.low > 0.02  # over documents
    assert found.backtest.size == 4
    assert found.backtest.predicted.value == pytest.approx(found.backtest.measured)
    assert found.needed.value == 6
    moved = Law(0.9 + offset, 0.5, 1.0, 4.0)
    assert found.stop.value == moved.stop(0.012, 10)
    assert set(found.domains) == set(measured[0].domains)


def test_wider_spread_wider_interval() -> None:
    """Fewer subsets say less."""

    def width(number: int) -> float:
        widths = []
        for seed in range(8):
            curve = predict(subsets(Law(1.0, 0.5, 0.5, 4.0), 10, 4, number, seed)[0], 10).curve
            widths.append(curve.same.high - curve.same.low)
        return float(np.mean(widths))

    assert width(20) < 0.8 * width(4)


def test_documents_of_very_different_length() -> None:
    """Two of them, one thirty times as long as the other: all resampled figures are within the documents' own."""
    law, pairs = Law(1.0, 0.5, 0.5, 3.0), []
    for size in (1, 2, 3):
        for number in range(4):
            loss = law.at(size) + 0.001 * number
            pairs.append(SubsetLoss(tuple(map(str, range(size))), {"a": ((loss * 100, 100.0), (loss * 3300, 3000.0))}))
    curve = predict(pairs, 6).curve
    assert 0.9 * law.at(6) < curve.full.low < curve.full.high < 1.3 * law.at(6)


def test_the_same_figures_every_time() -> None:
    """The bootstrap has a seed."""
    measured, _ = subsets(Law(1.0, 0.3, 0.5, 3.0), 6, 3, 6, 2)
    assert predict(measured, 6) == predict(measured, 6)
    assert predict(measured, 6) != predict(measured, 6, seed=1)


def test_a_target_below_the_floor_has_no_number() -> None:
    """And above all losses, one expert is enough."""
    measured, _ = subsets(Law(0.9, 0.5, 0.0, 4.0), 10, 4, 5, 1, spread=0.0, documents=2, hardness=0.01)
    assert predict(measured, 10, target=0.5).needed.value is None
    assert predict(measured, 10, target=3.0).needed.value == 1
    assert predict(measured, 10).needed is None


def test_a_rise_is_predicted_too() -> None:
    """More experts that blur each other: the loss rises, no target is reached by more of them, stop at one."""
    measured, _ = subsets(Law(1.2, -0.4, 0.5, 4.0), 10, 4, 8, 3, spread=0.005)
    found = predict(measured, 10, target=0.8)
    assert found.refusal is None
    assert found.curve.fall.high < 0
    assert (found.needed.value, found.stop.value) == (None, 1)


def refusal(found: Prediction) -> str:
    assert found.needed is found.stop is None
    assert found.refusal.hint
    return found.refusal.message


def test_refusals() -> None:
    """Too few sizes, a single subset, losses that are no numbers, no fall, an interval wider than the fall."""
    law = Law(1.0, 0.3, 0.5, 4.0)
    few = predict(subsets(law, 6, 2, 6, 0)[0], 6, target=1.1)
    assert few.curve is None
    assert "subsets of 2 sizes say nothing of others" in refusal(few)
    assert "one subset of 1 experts has no spread" in refusal(predict(subsets(law, 6, 3, 1, 0)[0], 6, target=1.1))
    broken = [SubsetLoss(("a", "b"), {f"d{i}": ((float("nan"), 10.0),) * 6 for i in range(6)})]
    assert "the model of a, b has no finite" in refusal(predict([*subsets(law, 6, 3, 3, 0)[0], *broken], 6, target=1.1))
    flat = predict(subsets(Law(1.0, 0.0, 0.0, 3.0), 6, 3, 6, 0)[0], 6, target=1.1)
    assert "no fall from 1 to 6 experts can be told from chance" in refusal(flat)
    assert flat.curve is not None
    blurred = predict(subsets(Law(1.0, 0.15, 0.0, 3.0), 40, 3, 8, 4, spread=0.05)[0], 40, target=1.1)
    assert "more than the fall of" in refusal(blurred)


def test_the_full_set_is_not_among_the_subsets() -> None:
    """Nor are subsets that were measured on other documents."""
    measured, _ = subsets(Law(1.0, 0.3, 0.5, 3.0), 6, 3, 6, 0)
    with pytest.raises(EvalError, match="the full set is among the subsets"):
        predict(measured, 3)
    other, _ = subsets(Law(1.0, 0.3, 0.5, 3.0), 6, 3, 6, 0, documents=5)
    with pytest.raises(EvalError, match="different documents"):
        predict([*measured, other[0]], 6)
