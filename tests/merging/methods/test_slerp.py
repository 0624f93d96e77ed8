"""slerp and nuslerp: two models on an arc."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tensors import STORED, awkward, bits, merge, normal, related

from cogen.errors import UsageError
from cogen.merging.methods.nuslerp import nuslerp
from cogen.merging.methods.slerp import slerp

SETTINGS = settings(deadline=None)
MODES = {
    "tensor": {},
    "rows": {"flatten": False, "row_wise": True},
    "columns": {"flatten": False},
}


def reference(t: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The formula on whole vectors along the last axis, in float64."""
    unit_a, unit_b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    cosine = np.sum(unit_a * unit_b, axis=-1, keepdims=True)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


class TestSlerp:
    """sin((1 - t)θ)/sin θ·E₀ + sin(tθ)/sin θ·E₁."""

    @SETTINGS
    @given(seed=st.integers(0, 1000), t=st.floats(-0.5, 1.5), bend=st.floats(0.03, 3.0), size=st.integers(2, 40))
    def test_reference(self, seed: int, t: float, bend: float, size: int) -> None:
        """At any angle and any t, also beyond the ends."""
        a, other = normal((size,), 2, seed)
        b = 0.7 * (a * math.cos(bend) + other * math.sin(bend))
        expected = reference(t, a.numpy(), b.numpy())
        found = slerp(None, [a, b], [1.0, 1.0], t=t).numpy()
        # Near a straight angle an error of the cosine grows as 1/sin², the result as 1/sin.
        size_of = np.abs(np.stack([a, b])).max()
        growth = max(1.0, np.abs(found).max() / size_of)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * size_of * growth**2)

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_the_ends_are_the_experts(self, dtype: torch.dtype) -> None:
        """t = 0 the first, t = 1 the second, every bit; on the arc and, for copies, on the chord."""
        a, b = awkward(dtype, 1), awkward(dtype, 2)
        for pair in ([a, b], [a, a.clone()], [a, torch.zeros_like(a)]):
            assert torch.equal(bits(merge(slerp, None, pair, t=0.0)), bits(pair[0]))
            assert torch.equal(bits(merge(slerp, None, pair, t=1.0)), bits(pair[1]))

    @pytest.mark.parametrize("t", [0.25, 0.5, 0.875])
    def test_symmetry(self, t: float) -> None:
        """The way from a to b is the way from b to a backwards."""
        a, b = normal((30, 20), 2, 3, torch.float32)
        assert torch.equal(merge(slerp, None, [a, b], t=t), merge(slerp, None, [b, a], t=1.0 - t))

    def test_length(self) -> None:
        """Between vectors of one length the length stays, where a weighted mean gets shorter."""
        a, b = normal((500,), 2, 4)
        a, b = a / a.norm(), b / b.norm()
        for t in (0.1, 0.5, 0.8):
            assert slerp(None, [a, b], [1.0, 1.0], t=t).norm().item() == pytest.approx(1.0, abs=1e-12)

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ([1.0, 2.0], [2.0, 4.0], [1.25, 2.5]),  # parallel
            ([1.0, 2.0], [-1.0, -2.0], [0.5, 1.0]),  # opposite
            ([0.0, 0.0], [4.0, 8.0], [1.0, 2.0]),  # no direction
            ([1.0, 0.0], [math.inf, 1.0], [math.inf, 0.25]),
        ],
    )
    def test_the_chord(self, first: list[float], second: list[float], expected: list[float]) -> None:
        """Where there is no arc, or none to be told from the chord: three parts of one, one of the other."""
        pair = [torch.tensor(v, dtype=torch.float64) for v in (first, second)]
        assert slerp(None, pair, [1.0, 1.0], t=0.25).tolist() == pytest.approx(expected, abs=1e-15)

    def test_the_base_and_the_weights_play_no_part(self) -> None:
        """t says it all."""
        base, a, b = normal((9, 9), 3, 5)
        assert torch.equal(slerp(base, [a, b], [0.1, 5.0], t=0.3), slerp(None, [a, b], [1.0, 1.0], t=0.3))

    def test_it_is_told_where(self) -> None:
        """There is no default t, and no third model."""
        with pytest.raises(UsageError, match="needs the parameter 't'"):
            slerp.check({}, 2)
        with pytest.raises(UsageError, match="merges 2 models, not 3"):
            slerp.check({"t": 0.5}, 3)


class TestNuslerp:
    """slerp at t = w₁/(w₀ + w₁): of tensors, rows or columns, of experts or differences."""

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("with_base", [False, True])
    @pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 0.2), (5.0, -1.0)])
    def test_reference(self, mode: str, with_base: bool, weights: tuple[float, float]) -> None:
        """A row is ``W[i, :]``, what one output is made of; a column is ``W[:, j]``."""
        tensors = related((17, 12), 2, 7)
        base, a, b = (tensor.numpy() for tensor in tensors)
        anchor = base if with_base else np.zeros_like(base)

        def arranged(x: np.ndarray) -> np.ndarray:
            return {"tensor": x.reshape(-1), "rows": x, "columns": x.T}[mode]

        arc = reference(weights[1] / sum(weights), arranged(a - anchor), arranged(b - anchor))
        expected = anchor + (arc.T if mode == "columns" else arc.reshape(a.shape))
        found = nuslerp(tensors[0] if with_base else None, tensors[1:], weights, **MODES[mode])
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)

    def test_a_small_angle_is_an_angle(self) -> None:
        """There is no threshold but that of rounding: two hundredths of a radian are told from the chord."""
        a, other = (tensor / tensor.norm() for tensor in normal((30,), 2, 16))
        b = a + 0.02 * other
        found = nuslerp(None, [a, b], [1.0, 1.0]).numpy()
        np.testing.assert_allclose(found, reference(0.5, a.numpy(), b.numpy()), rtol=0, atol=1e-12)
        assert np.linalg.norm(found - (0.5 * (a + b)).numpy()) > 1e-5

    def test_rows_are_rows(self) -> None:
        """A row that both experts have alike stays; of orthogonal rows each gives the sine of 45°."""
        a = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        b = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        half = math.sqrt(0.5)
        found = nuslerp(None, [a, b], [1.0, 1.0], flatten=False, row_wise=True)
        np.testing.assert_allclose(found.numpy(), [[half, half], [0.0, 1.0]], rtol=0, atol=1e-15)

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("with_base", [False, True])
    def test_the_ends_are_the_experts(self, dtype: torch.dtype, mode: str, with_base: bool) -> None:
        """All weight on one expert: every bit of it, whatever the base."""
        base, a, b = (awkward(dtype, seed) for seed in (8, 9, 10))
        anchor = base if with_base else None
        assert torch.equal(bits(merge(nuslerp, anchor, [a, b], [2.0, 0.0], **MODES[mode])), bits(a))
        assert torch.equal(bits(merge(nuslerp, anchor, [a, b], [0.0, 0.3], **MODES[mode])), bits(b))

    @pytest.mark.parametrize("mode", MODES)
    def test_symmetry(self, mode: str) -> None:
        """Experts that change places together with their weights change nothing."""
        base, a, b = related((13, 21), 2, 11, torch.float32)
        for weights in ([1.0, 2.0], [0.123, 0.9], [3.0, 7.0]):
            one = merge(nuslerp, base, [a, b], weights, **MODES[mode])
            two = merge(nuslerp, base, [b, a], weights[::-1], **MODES[mode])
            assert torch.equal(one, two)

    def test_without_a_base_it_is_slerp(self) -> None:
        """At the same t."""
        a, b = normal((11, 12), 2, 12, torch.float32)
        assert torch.equal(merge(nuslerp, None, [a, b], [0.75, 0.25]), merge(slerp, None, [a, b], t=0.25))

    @pytest.mark.parametrize("mode", MODES)
    def test_an_expert_that_is_the_base(self, mode: str) -> None:
        """A difference of zero has no direction: the other one, by its weight."""
        base, a = normal((6, 5), 2, 13)
        found = nuslerp(base, [base, a], [3.0, 1.0], **MODES[mode])
        np.testing.assert_allclose(found.numpy(), (0.75 * base + 0.25 * a).numpy(), rtol=0, atol=1e-15)

    def test_short_differences_are_differences(self) -> None:
        """Of 1e-9 as of 1: only their angle counts."""
        base, a, b = related((40,), 2, 14)
        zero = torch.zeros_like(base)
        long = nuslerp(zero, [a, b], [1.0, 2.0])
        short = nuslerp(zero, [a * 2.0**-30, b * 2.0**-30], [1.0, 2.0])
        assert torch.equal(short * 2.0**30, long)

    def test_rows_without_a_part_of_their_own(self) -> None:
        """One row alike in both experts, another one zero: each is merged by itself."""
        a = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        b = torch.tensor([[3.0, 4.0], [2.0, 6.0], [-1.0, 0.0]], dtype=torch.float64)
        found = nuslerp(None, [a, b], [1.0, 1.0], flatten=False, row_wise=True)
        assert found.tolist() == [[3.0, 4.0], [1.0, 3.0], [0.0, 0.0]]

    @pytest.mark.parametrize(
        ("weights", "parameters", "reported"),
        [([1.0, -1.0], {}, "sum to zero"), ([1.0, 1.0], {"row_wise": True}, "row_wise has no effect")],
    )
    def test_what_cannot_be_is_refused(self, weights: list[float], parameters: dict[str, Any], reported: str) -> None:
        """A quotient by zero, an option that another one makes idle."""
        with pytest.raises(UsageError, match=reported):
            nuslerp(None, normal((3, 3), 2, 15), weights, **parameters)
