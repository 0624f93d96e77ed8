"""SCE against its three steps, written again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tensors import related

from cogen.errors import UsageError
from cogen.merging.block import InMemory, Stack
from cogen.merging.methods.sce import sce, select, variance


def reference(base: np.ndarray, experts: list[np.ndarray], weights: list[float], topk: float) -> np.ndarray:
    """Select, calculate, erase; the weighted mean of what is left."""
    deltas = np.array([expert - base for expert in experts])
    if topk < 1:
        spread = deltas.var(axis=0)
        count = min(int(topk * spread.size), np.count_nonzero(spread))
        chosen = sorted(range(base.size), key=lambda i: (-spread[i], i))[:count]
        mask = np.zeros(base.size)
        mask[chosen] = 1
        deltas = deltas * mask
    own = np.array(weights) * (deltas**2).mean(axis=1)
    own = own / own.sum() if own.sum() else np.array(weights)
    agree = (np.sign(deltas) == np.sign(deltas.sum(0))) & (deltas != 0)
    share = (own[:, None] * agree).sum(0)
    return (own[:, None] * agree * deltas).sum(0) / np.where(share == 0, 1, share)


@settings(deadline=None)
@given(
    data=st.data(),
    count=st.integers(1, 4),
    topk=st.sampled_from([0.1, 0.4, 0.75, 1.0]),
    scale=st.sampled_from([0.3, 1.0, 2.0]),
)
def test_formula(data: st.DataObject, count: int, topk: float, scale: float) -> None:
    """Whole numbers, squares of which are exact: positions of equal variance, and of none, are frequent."""
    numbers = st.lists(st.integers(-6, 6), min_size=12, max_size=12)
    # Twelve times, so that means of two, three and four are whole numbers too.
    base, *experts = (12.0 * np.array(data.draw(numbers)) for _ in range(count + 1))
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=count, max_size=count))
    expected = base + scale * reference(base, experts, weights, topk)
    found = sce(torch.from_numpy(base), [torch.from_numpy(e) for e in experts], weights, select_topk=topk, scale=scale)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_small_differences_have_weights_too() -> None:
    """Differences as fine-tuning makes them, squares around 1e-9: the larger expert still counts for more."""
    base, *experts = related((3000,), 2, 1)
    experts = [base + 1e-4 * (experts[0] - base), base + 3e-4 * (experts[1] - base)]
    expected = reference(base.numpy(), [e.numpy() for e in experts], [1.0, 1.0], 1.0)
    found = sce(base, experts, [1.0, 1.0]) - base
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)
    assert np.abs(expected - reference(base.numpy(), [e.numpy() for e in experts], [9.0, 1.0], 1.0)).max() > 1e-5


def stack(tensors: list[torch.Tensor]) -> Stack:
    return Stack("w", InMemory(tensors[0]), [InMemory(t, str(i)) for i, t in enumerate(tensors[1:])], tensors[0].dtype)


def test_equal_experts_have_no_variance() -> None:
    """Not even one that rounding makes: three times a third is not always one."""
    generator = torch.Generator().manual_seed(2)
    expert = torch.randn(1000, generator=generator)
    for count in (1, 2, 3, 7, 10):
        (block,) = stack([torch.zeros(1000)] + [expert] * count).blocks()
        assert not variance(block).any()


def test_variance_is_that_of_the_experts() -> None:
    """Divided by their number; the base plays no part."""
    tensors = related((500,), 4, 3)
    (block,) = stack(tensors).blocks()
    torch.testing.assert_close(variance(block), torch.stack(tensors[1:]).var(0, unbiased=False))


def test_the_weights_sum_to_one() -> None:
    """And go with the squared norms, where the experts are selected."""
    tensors = related((500,), 3, 4)
    cut, weights = select(stack(tensors), [1.0, 1.0, 1.0])
    squares = [float((t - tensors[0]).square().sum()) for t in tensors[1:]]
    assert cut is None
    assert weights == pytest.approx([square / sum(squares) for square in squares], rel=1e-7)


def test_a_share_of_the_positions() -> None:
    """Above 0, at most 1."""
    with pytest.raises(UsageError, match="select_topk must be above 0"):
        sce(torch.ones(2), [torch.ones(2)], [1.0], select_topk=0.0)
