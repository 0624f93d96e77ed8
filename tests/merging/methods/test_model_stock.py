"""model_stock: from the base towards the mean, as far as the experts agree."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tensors import merge, normal, related

from cogen.errors import UsageError
from cogen.merging.methods.model_stock import model_stock

SETTINGS = settings(deadline=None)


def reference(base: np.ndarray, experts: list[np.ndarray]) -> np.ndarray:
    """Equation 5 of the paper, for vectors along the last axis."""
    count = len(experts)
    units = [(e - base) / np.linalg.norm(e - base, axis=-1, keepdims=True) for e in experts]
    pairs = [np.sum(u * v, axis=-1, keepdims=True) for u, v in itertools.combinations(units, 2)]
    cosine = np.mean(pairs, axis=0)
    t = np.where(cosine > 0, count * cosine / (1 + (count - 1) * cosine), 0.0)
    return t * np.mean(experts, axis=0) + (1 - t) * base


@SETTINGS
@given(seed=st.integers(0, 1000), count=st.integers(2, 5), rows=st.booleans())
def test_reference(seed: int, count: int, rows: bool) -> None:
    """For a tensor, or for each of its rows; also for rows whose differences point apart."""
    base, *experts = related((5, 9), count, seed)
    shape = (5, 9) if rows else (45,)
    expected = reference(base.numpy().reshape(shape), [e.numpy().reshape(shape) for e in experts])
    found = model_stock(base, experts, [1.0] * count, filter_wise=rows)
    np.testing.assert_allclose(found.numpy(), expected.reshape(5, 9), rtol=0, atol=1e-13)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("angle", [20.0, 60.0, 85.0])
def test_it_is_the_point_nearest_to_the_centre(count: int, angle: float) -> None:
    """The paper's picture: experts around a centre, in pairwise orthogonal directions from it, at one distance.

    The base lies off the centre at right angles to them; the nearest point to the centre on the line from the base to
    the mean of the experts is the foot of the perpendicular.
    """
    cosine = math.cos(math.radians(angle))
    axes = torch.eye(count + 1, dtype=torch.float64)
    # Two experts seen from the base: |height|² / (|height|² + 1) is the cosine between them.
    height = math.sqrt(cosine / (1.0 - cosine))
    centre = torch.zeros(count + 1, dtype=torch.float64)
    base = centre + height * axes[count]
    experts = [centre + axes[i] for i in range(count)]
    found = model_stock(base, experts, [1.0] * count)
    mean = torch.stack(experts).mean(0)
    assert ((found - centre) @ (mean - base)).item() == pytest.approx(0.0, abs=1e-14)
    share = ((found - base) @ (mean - base) / ((mean - base) @ (mean - base))).item()
    assert share == pytest.approx(count * cosine / (1 + (count - 1) * cosine), abs=1e-14)


def test_experts_that_agree_on_nothing_give_the_base() -> None:
    """At right angles t is 0; beyond, the formula would go the other way: it stays 0."""
    base = torch.tensor([5.0, 7.0], dtype=torch.float64)
    for degrees in (90.0, 91.0, 120.0, 179.0, 180.0):
        radians = math.radians(degrees)
        step = [torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [math.cos(radians), math.sin(radians)])]
        found = model_stock(base, [base + step[0], base + step[1]], [1.0, 1.0])
        np.testing.assert_allclose(found.numpy(), base.numpy(), rtol=0, atol=1e-15)


def test_an_expert_that_is_the_base_agrees_with_nobody() -> None:
    """Of two experts: the base. Of three: its two pairs count 0."""
    base, one, two = related((30,), 2, 1)
    assert torch.equal(model_stock(base, [base, one], [1.0, 1.0]), base)
    first, second = ((e - base).numpy() for e in (one, two))
    c = first @ second / np.linalg.norm(first) / np.linalg.norm(second) / 3
    t = 3 * c / (1 + 2 * c)
    expected = t * (base + one + two) / 3 + (1 - t) * base
    found = model_stock(base, [base, one, two], [1.0] * 3)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-14)


def test_no_difference_at_all() -> None:
    """The experts, to the sign of a zero."""
    base = torch.tensor([0.0, 1.0], dtype=torch.float64)
    expert = torch.tensor([-0.0, 1.0], dtype=torch.float64)
    found = model_stock(base, [expert, expert], [1.0, 1.0])
    assert found.tolist() == [0.0, 1.0]
    assert torch.signbit(found[0])


def test_short_differences_are_differences() -> None:
    """Only their angle counts, not their length: of 1e-9 as of 1."""
    base, one, two = related((8, 50), 2, 2)
    zero = torch.zeros_like(base)
    for rows in (False, True):
        long = model_stock(zero, [one, two], [1.0, 1.0], filter_wise=rows)
        short = model_stock(zero, [one * 2.0**-30, two * 2.0**-30], [1.0, 1.0], filter_wise=rows)
        assert torch.equal(short * 2.0**30, long)


def test_rows_are_merged_by_themselves() -> None:
    """A row that the experts have alike is theirs, one at right angles is the base's."""
    base = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    one = torch.tensor([[3.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    two = torch.tensor([[3.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    assert model_stock(base, [one, two], [1.0, 1.0], filter_wise=True).tolist() == [[3.0, 2.0], [1.0, 1.0]]


def test_vectors_have_one_row() -> None:
    """A bias is one filter."""
    base, one, two = related((30,), 2, 3, torch.bfloat16)
    assert torch.equal(merge(model_stock, base, [one, two], filter_wise=True), merge(model_stock, base, [one, two]))


def test_it_needs_a_base_and_two_experts() -> None:
    """One expert has no angle with another, nor without a base."""
    base, one = normal((3,), 2, 4)
    assert model_stock(base, [one, one], [1.0, 1.0]).tolist() == one.tolist()
    with pytest.raises(UsageError, match="merges at least 2 models, not 1"):
        model_stock.check({}, 1)
    with pytest.raises(UsageError, match="needs a base"):
        model_stock.check({}, 2, has_base=False)
