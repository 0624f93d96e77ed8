"""DELLA: probabilities by rank within the row, and the formula given what survives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from support.tensors import related

from cogen.errors import UsageError
from cogen.merging.block import InMemory, Stack
from cogen.merging.kernels.magprune import probabilities, survivors
from cogen.merging.methods.della import della, della_linear

WEIGHTS = [0.5, 0.3, 0.7]


class TestProbabilities:
    """Equal steps by rank within the row, from p - ε for the smallest magnitude to p + ε for the largest."""

    @pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 2), (5, 7), (2, 300), (1, 70000)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_ranks(self, shape: tuple[int, int], dtype: torch.dtype) -> None:
        """Against a sort; many magnitudes are equal, zero, below the normal range or infinite, and have both signs."""
        generator = torch.Generator().manual_seed(1)
        values = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, -2.0, 65535.0, 65536.0, math.inf, 1e-30], dtype=dtype)
        difference = values[torch.randint(0, 10, shape, generator=generator)]
        # Magnitudes are compared in float32, so these are float32 numbers.
        difference[0, ::3] = torch.randn(difference[0, ::3].shape, generator=generator)
        found = probabilities(difference, 0.6, 0.3)
        for row, chances in zip(difference.tolist(), found, strict=True):
            order = sorted(range(len(row)), key=lambda i: (abs(row[i]), i))
            steps = max(len(row) - 1, 1)
            expected = [0.0] * len(row)
            for rank, place in enumerate(order):
                expected[place] = 0.3 + 0.6 * rank / steps if len(row) > 1 else 0.6
            np.testing.assert_allclose(chances.numpy(), expected, rtol=1e-6)
        assert found.dtype == dtype

    def test_larger_ones_survive_more_often(self) -> None:
        """Over many seeds each rank of a row with its probability, within five standard deviations."""
        row = torch.tensor([[0.3, -0.1, 0.5, 0.2, -0.4]])
        held, seeds = [InMemory(row, "a")], 2000
        (block,) = Stack("w", InMemory(torch.zeros(1, 5)), held, torch.float32, "row").blocks()
        counts = sum((survivors(block, 0.5, 0.4, seed)[0][0] != 0).double() for seed in range(seeds))
        expected = torch.tensor([[0.5, 0.1, 0.9, 0.3, 0.7]])
        assert torch.all((counts / seeds - expected).abs() < 5 * (expected * (1 - expected) / seeds).sqrt())


def reference_masks(
    inputs: list[torch.Tensor], density: Any, epsilon: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """0 and 1, and the probabilities, of every expert."""
    held = [InMemory(expert, str(i)) for i, expert in enumerate(inputs[1:])]
    (block,) = Stack("w", InMemory(inputs[0]), held, inputs[0].dtype, "row").blocks()
    found = survivors(block, density, epsilon, 0)
    chances = [np.ones(m.shape) if chance is None else chance.numpy() for m, chance in found]
    return [(mask != 0).numpy().astype(float) for mask, _ in found], chances


@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
@pytest.mark.parametrize("normalize", [False, True])
class TestFormulas:
    DENSITIES, EPSILONS = (0.5, 1.0, 0.7), (0.15, 0.3, 0.29)

    def parts(self, inputs: list[torch.Tensor], rescale: str) -> np.ndarray:
        """``fᵢ·maskᵢ·dᵢ`` of every expert."""
        base, *experts = (tensor.numpy() for tensor in inputs)
        found = []
        for expert, mask, chance in zip(experts, *reference_masks(inputs, self.DENSITIES, self.EPSILONS), strict=True):
            delta = expert - base
            factor: Any = 1.0
            if rescale == "inverse":
                factor = 1 / chance
            if rescale == "l1":
                factor = np.abs(delta).sum() / np.abs(delta * mask).sum()
            found.append(factor * mask * delta)
        return np.array(found)

    def test_linear(self, rescale: str, normalize: bool) -> None:
        """``base + s·Σ wᵢ fᵢ maskᵢ dᵢ``; the paper's f is 1 over each element's own probability."""
        inputs = related((60, 70), 3, 2)
        total = np.tensordot(WEIGHTS, self.parts(inputs, rescale), 1)
        expected = inputs[0].numpy() + 0.8 * total / (sum(WEIGHTS) if normalize else 1.0)
        options = {"density": self.DENSITIES, "epsilon": self.EPSILONS, "rescale": rescale, "normalize": normalize}
        found = della_linear(inputs[0], inputs[1:], WEIGHTS, name="w", scale=0.8, **options)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-9)

    def test_elected(self, rescale: str, normalize: bool) -> None:
        """Of those with the sign of the weighted sum."""
        inputs = related((60, 70), 3, 3)
        votes = np.array(WEIGHTS)[:, None, None] * self.parts(inputs, rescale)
        agree = (np.sign(votes) == np.sign(votes.sum(0))) & (votes != 0)
        share = (np.array(WEIGHTS)[:, None, None] * agree).sum(0)
        divisor = np.where(share == 0, 1.0, share) if normalize else 1.0
        expected = inputs[0].numpy() + 0.8 * (votes * agree).sum(0) / divisor
        options = {"density": self.DENSITIES, "epsilon": self.EPSILONS, "rescale": rescale, "normalize": normalize}
        found = della(inputs[0], inputs[1:], WEIGHTS, name="w", scale=0.8, **options)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-9)


def test_the_expected_value_is_task_arithmetics() -> None:
    """Dividing by each element's own probability: within five standard errors everywhere."""
    base, expert = related((2, 32), 1, 4)
    seeds = 400
    total = sum(della_linear(base, [expert], [1.0], density=0.5, epsilon=0.3, seed=seed) for seed in range(seeds))
    chance = probabilities(expert - base, 0.5, 0.3)
    deviation = (expert - base).abs() * ((1 - chance) / chance / seeds).sqrt()
    assert torch.all((total / seeds - expert).abs() < 5 * deviation)


def test_a_vector_is_one_row() -> None:
    """And so is a matrix of one row."""
    base, *experts = related((50,), 2, 5)
    flat = della(base, experts, [1.0, 0.5])
    row = della(base.reshape(1, 50), [expert.reshape(1, 50) for expert in experts], [1.0, 0.5])
    assert torch.equal(row.reshape(50), flat)


@pytest.mark.parametrize("method", [della, della_linear])
@pytest.mark.parametrize(("density", "epsilon"), [(0.9, 0.15), (0.1, 0.15), (0.5, 0.5), (0.5, -0.1), (0.5, math.nan)])
def test_probabilities_stay_between_0_and_1(method: Any, density: float, epsilon: float) -> None:
    """As mergekit's guide says; at density 1 nothing is drawn, and epsilon plays no part."""
    with pytest.raises(UsageError, match=r"density .* leaves the range 0 to 1"):
        method(torch.ones(3), [torch.zeros(3)], [1.0], density=density, epsilon=epsilon)
    assert method(torch.ones(3), [torch.zeros(3)], [1.0], density=1.0, epsilon=epsilon).tolist() == [0.0] * 3
