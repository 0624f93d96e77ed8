"""Localize-and-Stitch without data against its definition, over a model of several tensors."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.merging.block import InMemory, Stack
from cogen.merging.methods.localize_and_stitch import localize_and_stitch

NUMBERS = st.lists(st.integers(-12, 12).map(lambda n: n / 8), min_size=14, max_size=14)


@settings(deadline=None)
@given(
    data=st.data(),
    count=st.integers(1, 4),
    split=st.integers(1, 13),
    scale=st.sampled_from([0.4, 1.0]),
    block=st.integers(1, 14),
)
def test_formula(data: st.DataObject, count: int, split: int, scale: float, block: int) -> None:
    """Each position takes the mean of the experts among whose largest differences it is."""
    base, *experts = (np.array(data.draw(NUMBERS)) for _ in range(count + 1))
    weights = data.draw(st.lists(st.sampled_from([0.25, 1.0, 2.0]), min_size=count, max_size=count))
    densities = data.draw(st.lists(st.sampled_from([0.05, 0.2, 0.5, 1.0]), min_size=count, max_size=count))
    masks = []
    for expert, density in zip(experts, densities, strict=True):
        order = sorted(range(14), key=lambda i: (-abs(expert[i] - base[i]), i))[: max(1, int(density * 14))]
        masks.append([i in order and expert[i] != base[i] for i in range(14)])
    expected = base.copy()
    for i in range(14):
        covered = [k for k in range(count) if masks[k][i]]
        if covered:
            total = sum(weights[k] * (experts[k][i] - base[i]) for k in covered)
            expected[i] += scale * total / sum(weights[k] for k in covered)
    stacks = [
        Stack(
            str(i),
            InMemory(torch.from_numpy(base[part])),
            [InMemory(torch.from_numpy(e[part]), str(k)) for k, e in enumerate(experts)],
            torch.float64,
            block=block,
        )
        for i, part in enumerate((slice(0, split), slice(split, None)))
    ]
    states = localize_and_stitch.state(stacks, weights, {"density": densities})
    found = [
        localize_and_stitch.apply(part, weights, state, scale=scale)
        for stack, state in zip(stacks, states, strict=True)
        for part in stack.blocks()
    ]
    np.testing.assert_allclose(torch.cat(found).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_experts_that_do_not_overlap_are_whole() -> None:
    """The point of it: neither dilutes the other, whatever their weights are."""
    base = torch.zeros(100)
    one, two = torch.zeros(100), torch.zeros(100)
    one[:5], two[50:55] = 3.0, -2.0
    found = localize_and_stitch(base, [one, two], [1.0, 7.0], density=0.05)
    assert torch.equal(found, one + two)
