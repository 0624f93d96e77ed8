"""passthrough and nearswap: element by element, no look at the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tensors import STORED, awkward, bits, merge, normal

from cogen.errors import UsageError
from cogen.merging.methods.nearswap import nearswap
from cogen.merging.methods.passthrough import passthrough

SETTINGS = settings(deadline=None)
FLOATS = st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6)


class TestPassthrough:
    """s·E."""

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_without_a_scale_it_is_a_copy(self, dtype: torch.dtype) -> None:
        """Every bit, infinities and NaN too."""
        expert = awkward(dtype, 1)
        expert[0, :3] = torch.tensor([math.inf, -math.inf, math.nan])
        assert torch.equal(bits(merge(passthrough, None, [expert])), bits(expert))
        assert torch.equal(bits(merge(passthrough, awkward(dtype, 2), [expert], [0.3])), bits(expert))

    def test_a_scale_multiplies(self) -> None:
        """Rounded once; as a number or as the one expert's own."""
        (expert,) = normal((20, 7), 1, 3)
        assert passthrough(None, [expert], [1.0], scale=0.3).tolist() == (0.3 * expert.numpy()).tolist()
        assert passthrough(None, [expert], [1.0], scale=(-0.3,)).tolist() == (-0.3 * expert.numpy()).tolist()
        assert not passthrough(None, [expert], [1.0], scale=0.0).any()

    def test_it_takes_one_model(self) -> None:
        """Which of two would it be?"""
        with pytest.raises(UsageError, match="merges 1 model, not 2"):
            passthrough.check({}, 2)


class TestNearswap:
    """w·b + (1 - w)·a with w = min(t/|b - a|, 1)."""

    @SETTINGS
    @given(first=FLOATS, second=FLOATS, t=st.floats(0, 2000))
    def test_reference(self, first: list[float], second: list[float], t: float) -> None:
        """The published form, one element after the other; where the two are equal it is that."""
        expected = []
        for a, b in zip(first, second, strict=True):
            w = min(t / abs(b - a), 1.0) if a != b else 0.0
            expected.append(w * b + (1 - w) * a)
        pair = [torch.tensor(values, dtype=torch.float64) for values in (first, second)]
        np.testing.assert_allclose(nearswap(None, pair, [1.0, 1.0], t=t).numpy(), expected, rtol=0, atol=1e-12)

    def test_by_hand(self) -> None:
        """Near ones are swapped, far ones move by t; equal ones stay, to the sign of a zero."""
        a = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, -0.0, 5.0], dtype=torch.float64)
        b = torch.tensor([1.25, 1.5, 2.0, -3.0, -0.0, 0.0, 5.0], dtype=torch.float64)
        found = nearswap(None, [a, b], [1.0, 1.0], t=0.5)
        assert found.tolist() == [1.25, 1.5, 1.5, 0.5, 0.0, -0.0, 5.0]
        assert torch.equal(torch.signbit(found[4:6]), torch.tensor([False, True]))

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_the_ends(self, dtype: torch.dtype) -> None:
        """t = 0 is the first, every bit; at a t above all differences it is the second, where they differ."""
        a, b = awkward(dtype, 4), awkward(dtype, 5)
        assert torch.equal(bits(merge(nearswap, None, [a, b], t=0.0)), bits(a))
        found = merge(nearswap, None, [a, b], t=math.inf)
        assert torch.equal(bits(found[a != b]), bits(b[a != b]))
        assert torch.equal(bits(found[a == b]), bits(a[a == b]))

    def test_a_small_t_counts(self) -> None:
        """There is no least difference: 1e-9 is told from 1e-10."""
        a = torch.zeros(2, dtype=torch.float64)
        b = torch.tensor([1e-9, 1e-11], dtype=torch.float64)
        assert nearswap(None, [a, b], [1.0, 1.0], t=1e-10).tolist() == [1e-10, 1e-11]

    def test_never_further_than_t_nor_beyond_the_other(self) -> None:
        """From the first towards the second; so it is not a symmetric method."""
        a, b = normal((50, 40), 2, 6)
        there, back = nearswap(None, [a, b], [1.0, 1.0], t=0.5), nearswap(None, [b, a], [1.0, 1.0], t=0.5)
        assert torch.all((there - a).abs() <= 0.5 + 1e-12)
        assert torch.all((there >= a.minimum(b)) & (there <= a.maximum(b)))
        near = (a - b).abs() <= 0.5
        assert 0 < near.sum() < near.numel()
        assert torch.equal(there[near], b[near])
        assert torch.equal(back[near], a[near])
        assert not torch.any(there == back)

    def test_infinities(self) -> None:
        """An infinite goal is walked to by t; an infinite start is not left; NaN is not hidden."""
        a = torch.tensor([1.0, 1.0, math.inf, math.inf, math.inf, math.nan, 1.0], dtype=torch.float64)
        b = torch.tensor([math.inf, -math.inf, 1.0, math.inf, -math.inf, 1.0, math.nan], dtype=torch.float64)
        found = nearswap(None, [a, b], [1.0, 1.0], t=0.25)
        assert found[:5].tolist() == [1.25, 0.75, math.inf, math.inf, math.inf]
        assert torch.all(found[5:].isnan())

    @pytest.mark.parametrize("t", [-1e-9, math.nan])
    def test_a_distance_is_not_negative(self, t: float) -> None:
        """Nor is it no number."""
        with pytest.raises(UsageError, match="nearswap: t must not be negative"):
            nearswap.check({"t": t}, 2)
