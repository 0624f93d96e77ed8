"""arcee_fusion, with the exp, log and quantiles that it is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tensors import STORED, awkward, bits, merge, related

from cogen.merging.block import InMemory, Stack
from cogen.merging.kernels.elementary import exp, log
from cogen.merging.kernels.quantiles import order_statistics
from cogen.merging.methods.arcee_fusion import arcee_fusion, divergence

SETTINGS = settings(deadline=None)


def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The published formula in float64, with sorted importances."""

    def softmax(x: np.ndarray) -> np.ndarray:
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True) + 1e-8

    p, q = softmax(b), softmax(a)
    importance = (np.abs(b - a) * np.sum(p * np.log(p / q), axis=-1, keepdims=True)).astype(np.float32)
    ordered = np.sort(importance.astype(np.float64), axis=None)
    low, median, high = (ordered[int(q * (ordered.size - 1))] for q in (0.25, 0.5, 0.75))
    return np.where(importance >= median + 1.5 * (high - low), b, a)


class TestFusion:
    """b where |b - a|·KL is at least median + 1.5·IQR, a elsewhere."""

    @SETTINGS
    @given(seed=st.integers(0, 1000), rows=st.integers(1, 12), columns=st.integers(1, 30))
    def test_reference(self, seed: int, rows: int, columns: int) -> None:
        """Every decision of it."""
        _, a, b = related((rows, columns), 2, seed)
        found = arcee_fusion(None, [a, b], [1.0, 1.0]).numpy()
        assert np.array_equal(found, reference(a.numpy(), b.numpy()))

    def test_small_probabilities(self) -> None:
        """Of weights so large that most probabilities of a row are below the constant."""
        for seed in range(20):
            _, a, b = (12 * tensor for tensor in related((6, 40), 2, seed))
            found = arcee_fusion(None, [a, b], [1.0, 1.0]).numpy()
            assert np.array_equal(found, reference(a.numpy(), b.numpy()))

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_every_value_is_one_of_the_two(self, dtype: torch.dtype) -> None:
        """Bit for bit; some are taken over, most are not."""
        _, a, b = related((40, 50), 2, 1, dtype)
        found = merge(arcee_fusion, None, [a, b])
        taken = found == b
        assert torch.equal(bits(found), bits(torch.where(taken, b, a)))
        assert 0.01 < (taken & (a != b)).double().mean() < 0.25

    def test_what_is_just_important_enough(self) -> None:
        """Of two values both are taken: the threshold is the importance of the lesser one, which meets it."""
        for seed in range(20):
            _, a, b = related((1, 2), 2, seed)
            assert torch.equal(arcee_fusion(None, [a, b], [1.0, 1.0]), b)

    def test_the_largest_changes_of_the_rows_that_changed(self) -> None:
        """Where one row in four changed a lot, only values of it are taken."""
        _, a, b = related((16, 64), 2, 2)
        changed = torch.arange(16) % 4 == 0
        b = torch.where(changed[:, None], b, a + 1e-3 * (b - a))
        taken = arcee_fusion(None, [a, b], [1.0, 1.0]) != a
        assert taken[changed].double().mean() > 0.5
        assert not taken[~changed].any()
        within = taken & ((b - a).abs() < (b - a).abs().amax(-1, keepdim=True) / 100)
        assert within.sum() < taken.sum() / 10

    def test_it_is_not_symmetric(self) -> None:
        """The first keeps what is not important; so the two results are made of different values."""
        _, a, b = related((20, 30), 2, 3)
        one, two = arcee_fusion(None, [a, b], [1.0, 1.0]), arcee_fusion(None, [b, a], [1.0, 1.0])
        assert (one == a).double().mean() > 0.7
        assert (two == b).double().mean() > 0.7

    def test_hardly_any_change(self) -> None:
        """With a threshold of zero every value is important: all of the second expert."""
        _, a, b = related((20, 30), 2, 4)
        b[1:] = a[1:]
        assert torch.equal(arcee_fusion(None, [a, b], [1.0, 1.0]), b)

    def test_a_row_with_an_infinity_has_no_importance(self) -> None:
        """It keeps the first expert's values; the other rows are decided as without it, given the same quartiles."""
        _, a, b = related((21, 30), 2, 5)
        quiet, loud = b.clone(), b.clone()
        quiet[7] = a[7]
        loud[7, 3] = math.inf
        expected = arcee_fusion(None, [a, quiet], [1.0, 1.0])
        assert torch.equal(arcee_fusion(None, [a, loud], [1.0, 1.0]), expected)
        assert torch.equal(expected[7], a[7])

    def test_values_of_any_size(self) -> None:
        """Differences beyond the accumulator's range are differences."""
        a, b = awkward(torch.bfloat16, 6), awkward(torch.bfloat16, 7)
        found = merge(arcee_fusion, None, [a, b])
        assert torch.all((bits(found) == bits(a)) | (bits(found) == bits(b)))
        assert torch.equal(bits(found), bits(arcee_fusion(None, [a.double(), b.double()], [1.0, 1.0]).bfloat16()))


def test_divergence_is_never_negative_and_zero_of_equals() -> None:
    """Gibbs' inequality, and that a shift of all values is no change of the softmax."""
    _, a, b = related((200, 17), 2, 8)
    found = divergence(a, a + 1e-9 * (b - a))
    assert torch.all(found >= 0)
    assert divergence(a, a).tolist() == [0.0] * 200
    assert torch.all(divergence(a, a + 3.0) < 1e-15)
    assert torch.all(divergence(a, b) > 1e-4)


class TestElementary:
    """exp and log from additions and multiplications."""

    @SETTINGS
    @given(st.lists(st.floats(-700, 700), min_size=1, max_size=50))
    def test_exp(self, values: list[float]) -> None:
        """Two units in the last place."""
        found = exp(torch.tensor(values, dtype=torch.float64)).tolist()
        for x, y in zip(values, found, strict=True):
            assert abs(y - math.exp(x)) <= 2 * math.ulp(math.exp(x))

    @SETTINGS
    @given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=50))
    def test_log(self, values: list[float]) -> None:
        """Two units in the last place; so also for numbers next to one, whose logarithm is nearly zero."""
        values = [*values, *(1.0 + x / 1e310 for x in values), 1.0 - 2**-50, 1.0 + 2**-50, math.sqrt(0.5), math.sqrt(2)]
        found = log(torch.tensor(values, dtype=torch.float64)).tolist()
        for x, y in zip(values, found, strict=True):
            assert abs(y - math.log(x)) <= 2 * math.ulp(math.log(x))

    def test_special_values(self) -> None:
        """Exact where the result is a number of the format; NaN stays NaN; below -700 it is as good as zero."""
        assert exp(torch.tensor([0.0, -0.0], dtype=torch.float64)).tolist() == [1.0, 1.0]
        assert log(torch.tensor([1.0], dtype=torch.float64)).tolist() == [0.0]
        assert math.isnan(exp(torch.tensor(math.nan, dtype=torch.float64)).item())
        assert 0 < exp(torch.tensor(-math.inf, dtype=torch.float64)).item() < 1e-300


@SETTINGS
@given(
    values=st.lists(
        st.floats(0, width=32) | st.sampled_from([0.0, 1.0, 1.0000001, 1e-45, math.inf]), min_size=1, max_size=80
    ),
    block=st.integers(1, 90),
    data=st.data(),
)
def test_order_statistics_are_the_sorted_elements(values: list[float], block: int, data: st.DataObject) -> None:
    """Of any rank, several at once, ties and all."""
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    stack = Stack("x", None, [InMemory(torch.tensor(values))], torch.float32, block=block)
    found = order_statistics(stack, lambda part: part.expert(0), ranks)
    assert found == [float(np.float32(sorted(values)[rank])) for rank in ranks]
