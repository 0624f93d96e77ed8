"""The three variants of TIES against their formulas, position by position, and against peft's own function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.tensors import related

from cogen.merging.block import InMemory, Stack
from cogen.merging.methods.ties import ties, ties_global, ties_peft

SETTINGS = settings(deadline=None)
#: Eighths: differences that are equal, zero or cancel are frequent, and nothing is rounded.
NUMBERS = st.lists(st.integers(-12, 12).map(lambda n: n / 8), min_size=9, max_size=9)
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 2.0, -0.5])


def trim(difference: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` largest entries, of equal ones the first; 0 elsewhere."""
    order = sorted(range(difference.size), key=lambda i: (-abs(difference[i]), i))
    found = np.zeros_like(difference)
    found[order[:count]] = difference[order[:count]]
    return found


def disjoint(
    deltas: Sequence[np.ndarray],
    election_weights: Sequence[float],
    parts: Sequence[float],
    divisors: Sequence[float] | None,
    at_zero: float = 0.0,
) -> np.ndarray:
    """What is added to the base: elect a sign, then sum or average those that have it."""
    found = np.zeros(deltas[0].size)
    for i in range(found.size):
        sign = np.sign(sum(b * d[i] for b, d in zip(election_weights, deltas, strict=True))) or at_zero
        agree = [k for k, d in enumerate(deltas) if d[i] != 0 and np.sign(election_weights[k] * d[i]) == sign]
        share = 1.0 if divisors is None else sum(divisors[k] for k in agree)
        if agree and share != 0:
            found[i] = sum(parts[k] * deltas[k][i] for k in agree) / share
    return found


@st.composite
def merges(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray], list[float], list[float]]:
    count = draw(st.integers(1, 4))
    base, *experts = (np.array(draw(NUMBERS)) for _ in range(count + 1))
    weights = draw(st.lists(WEIGHTS, min_size=count, max_size=count))
    densities = draw(st.lists(st.sampled_from([0.05, 0.3, 0.5, 0.7, 1.0]), min_size=count, max_size=count))
    return base, experts, weights, densities


class TestTies:
    """mergekit's variant: per tensor, weights in the election, divided by the agreeing weights."""

    @SETTINGS
    @given(
        inputs=merges(),
        scale=st.sampled_from([0.3, 1.0, 2.0]),
        normalize=st.booleans(),
        rescale=st.sampled_from(["none", "l1"]),
        undecided=st.sampled_from(["base", "plus"]),
    )
    def test_formula(self, inputs: tuple, scale: float, normalize: bool, rescale: str, undecided: str) -> None:
        """Trim to ``max(1, int(density·n))``, restore the norm if asked, elect, merge."""
        base, experts, weights, densities = inputs
        deltas, factors = [], []
        for expert, density in zip(experts, densities, strict=True):
            whole = expert - base
            delta = trim(whole, max(1, int(density * base.size)))
            kept = np.abs(delta).sum()
            factors.append(np.abs(whole).sum() / kept if rescale == "l1" and kept else 1.0)
            deltas.append(delta)
        parts = [w * f for w, f in zip(weights, factors, strict=True)]
        at_zero = 1.0 if undecided == "plus" else 0.0
        if rescale == "l1":  # whether rescaled differences cancel is a matter of rounding
            sums = np.abs(sum(p * d for p, d in zip(parts, deltas, strict=True)))
            assume(not np.any((sums > 0) & (sums < 1e-6)))
        expected = base + scale * disjoint(deltas, parts, parts, weights if normalize else None, at_zero)
        found = ties(
            torch.from_numpy(base),
            [torch.from_numpy(e) for e in experts],
            weights,
            density=densities,
            scale=scale,
            normalize=normalize,
            rescale=rescale,
            undecided=undecided,
        )
        tolerance = 1e-12 if rescale == "none" else 1e-6  # an L1 norm is the sum of numbers rounded to float32
        np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)

    def test_a_share_is_rounded_down_but_never_to_nothing(self) -> None:
        """0.29 of 100 is 28, as the product of binary numbers is just below 29; 0.29 of 2 is one."""
        for density, size, count in [(0.29, 100, 28), (0.5, 9, 4), (0.29, 2, 1), (0.01, 3, 1), (1.0, 7, 7)]:
            expert = torch.arange(1.0, size + 1)
            found = ties(torch.zeros(size), [expert], [1.0], density=density)
            assert found.nonzero().reshape(-1).tolist() == list(range(size - count, size))

    def test_weights_that_cancel_decide_nothing(self) -> None:
        """Two that agree, with weights 1 and -1: no mean of theirs exists."""
        base, up, down = torch.tensor([5.0]), torch.tensor([7.0]), torch.tensor([4.0])
        assert ties(base, [up, down], [1.0, -1.0], density=1.0).item() == 5.0
        assert ties(base, [up, down], [1.0, -1.0], density=1.0, normalize=False).item() == 5.0 + 2.0 + 1.0

    def test_infinities_of_both_signs_elect_nothing(self) -> None:
        """And one alone wins."""
        base = torch.zeros(2)
        experts = [torch.tensor([torch.inf, torch.inf]), torch.tensor([-torch.inf, -3.0])]
        assert ties(base, experts, [1.0, 1.0], density=1.0).tolist() == [0.0, torch.inf]


class TestGlobal:
    """The paper: "we keep the top-k % values … based on their magnitude" of the task vector of the whole model."""

    @SETTINGS
    @given(inputs=merges(), split=st.integers(1, 8), scale=st.sampled_from([0.4, 1.0]), block=st.integers(1, 9))
    def test_formula(self, inputs: tuple, split: int, scale: float, block: int) -> None:
        """Trimmed over two tensors together, elected by the plain sum."""
        base, experts, weights, densities = inputs
        weights = [abs(weight) for weight in weights]
        deltas = [trim(e - base, max(1, int(d * base.size))) for e, d in zip(experts, densities, strict=True)]
        expected = base + scale * disjoint(deltas, [1.0] * len(deltas), weights, weights)
        parts = (slice(0, split), slice(split, None))
        stacks = [
            Stack(
                str(i),
                InMemory(torch.from_numpy(base[part])),
                [InMemory(torch.from_numpy(e[part]), str(k)) for k, e in enumerate(experts)],
                torch.float64,
                block=block,
            )
            for i, part in enumerate(parts)
        ]
        states = ties_global.state(stacks, weights, {"density": densities})
        found = torch.cat(
            [
                ties_global.apply(part, weights, state, scale=scale)
                for stack, state in zip(stacks, states, strict=True)
                for part in stack.blocks()
            ]
        )
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


class TestPeft:
    @SETTINGS
    @given(inputs=merges(), scale=st.sampled_from([0.4, 1.0]))
    def test_formula(self, inputs: tuple, scale: float) -> None:
        """Elected by the plain sum, plus at 0; weights multiply and the number divides."""
        base, experts, weights, densities = inputs
        deltas = [trim(e - base, max(1, int(d * base.size))) for e, d in zip(experts, densities, strict=True)]
        plain = [1.0] * len(deltas)
        expected = base + scale * disjoint(deltas, plain, weights, plain, at_zero=1.0)
        found = ties_peft(
            torch.from_numpy(base), [torch.from_numpy(e) for e in experts], weights, density=densities, scale=scale
        )
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)

    def test_a_sum_of_zero_counts_as_plus(self) -> None:
        """Of two opposite differences the positive one stays, here as in peft."""
        merge_utils = pytest.importorskip("peft.utils.merge_utils")
        base, one = torch.zeros(2), torch.tensor([3.0, -5.0])
        assert ties_peft(base, [one, -one], [0.5, 2.0], density=1.0).tolist() == [1.5, 10.0]
        assert merge_utils.disjoint_merge(
            torch.stack([one * 0.5, -one * 2.0]), merge_utils.calculate_majority_sign_mask(torch.stack([one, -one]))
        ).tolist() == [1.5, 10.0]

    @pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
    def test_the_same_as_peft(self, density: float) -> None:
        """On differences that are all distinct, so that no choice is left open."""
        merge_utils = pytest.importorskip("peft.utils.merge_utils")
        base, *experts = related((40, 50), 3, 1)
        weights = [0.5, 1.0, -0.3]
        delta = merge_utils.ties([e - base for e in experts], torch.tensor(weights, dtype=base.dtype), density)
        found = ties_peft(base, experts, weights, density=density)
        torch.testing.assert_close(found, base + delta, rtol=1e-12, atol=1e-12)
