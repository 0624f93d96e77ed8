"""DARE: the random masks by their moments and by what they depend on; the rest by its formula, given the masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from support.tensors import bits, related

from cogen.merging.block import InMemory, Stack
from cogen.merging.methods.dare import dare_linear, dare_ties, survivors

SIZE = 1 << 16
WEIGHTS = [0.5, 0.3, 0.7]


def masks(inputs: list[torch.Tensor], densities: list[float], seed: int = 0, name: str = "w") -> list[np.ndarray]:
    """0 and 1 for each element of each expert."""
    held = [InMemory(expert, f"model {i}") for i, expert in enumerate(inputs[1:])]
    (block,) = Stack(name, InMemory(inputs[0]), held, inputs[0].dtype).blocks()
    return [(mask != 0).numpy().astype(float) for mask in survivors(block, densities, seed)]


def merged(method: Any, inputs: list[torch.Tensor], **parameters: Any) -> np.ndarray:
    keys = [f"model {i}" for i in range(len(inputs) - 1)]
    return method(inputs[0], inputs[1:], WEIGHTS, keys=keys, name="w", **parameters).numpy()


class TestMasks:
    @pytest.mark.parametrize("density", [0.001, 0.1, 0.5, 0.73, 0.999])
    def test_each_survives_with_its_probability(self, density: float) -> None:
        """The share that survives lies within five standard deviations; neighbours don't influence each other."""
        (mask,) = masks(related((SIZE,), 1, 1), [density])
        sigma = math.sqrt(density * (1 - density) / SIZE)
        assert abs(mask.mean() - density) < 5 * sigma
        for lag in (1, 2, 4, 8, 256):
            both = (mask[lag:] * mask[:-lag]).mean()
            assert abs(both - density**2) < 5 * math.sqrt(density**2 * (1 - density**2) * 2 / SIZE)

    def test_masks_of_experts_tensors_and_seeds_are_independent(self) -> None:
        """Each pair agrees in half of the places."""
        inputs = related((SIZE,), 2, 2)
        one, two = masks(inputs, [0.5, 0.5])
        other_tensor, _ = masks(inputs, [0.5, 0.5], name="v")
        other_seed, _ = masks(inputs, [0.5, 0.5], seed=1)
        found = [one, two, other_tensor, other_seed]
        for i, left in enumerate(found):
            for right in found[:i]:
                assert abs((left == right).mean() - 0.5) < 5 * 0.5 / math.sqrt(SIZE)

    def test_a_mask_belongs_to_its_expert_alone(self) -> None:
        """Whatever the others' densities are, and wherever the expert stands: its key counts."""
        inputs = related((500,), 3, 3)
        alone = masks(inputs[:2], [0.4])[0]
        together = masks(inputs, [0.4, 0.9, 0.1])[0]
        assert np.array_equal(alone, together)
        keys = ["a", "b", "c"]
        expected = dare_linear(inputs[0], inputs[1:], WEIGHTS, keys=keys, density=[0.2, 0.5, 0.8])
        turned = dare_linear(inputs[0], inputs[:0:-1], WEIGHTS[::-1], keys=keys[::-1], density=[0.8, 0.5, 0.2])
        torch.testing.assert_close(turned, expected, rtol=1e-12, atol=1e-12)
        renamed = dare_linear(inputs[0], inputs[1:], WEIGHTS, keys=keys[::-1], density=[0.2, 0.5, 0.8])
        assert not torch.equal(renamed, expected)

    def test_a_larger_density_keeps_what_a_smaller_one_keeps(self) -> None:
        """One number an element decides: searching over the density is smooth."""
        inputs = related((1000,), 1, 4)
        few, many = masks(inputs, [0.3])[0], masks(inputs, [0.6])[0]
        assert np.all(few <= many)
        assert few.sum() < many.sum()

    def test_the_seed_is_zero_unless_given(self) -> None:
        """The same call twice gives the same bits; another seed others."""
        inputs = related((300,), 3, 5)
        first = merged(dare_ties, inputs, density=0.5)
        assert np.array_equal(first, merged(dare_ties, inputs, density=0.5, seed=0))
        assert not np.array_equal(first, merged(dare_ties, inputs, density=0.5, seed=1))


def factors(deltas: np.ndarray, kept: list[np.ndarray], densities: list[float], rescale: str) -> list[float]:
    if rescale == "none":
        return [1.0] * len(kept)
    if rescale == "inverse":
        return [1.0 / density for density in densities]
    return [np.abs(d).sum() / np.abs(d * m).sum() for d, m in zip(deltas, kept, strict=True)]


@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
@pytest.mark.parametrize("normalize", [False, True])
class TestFormulas:
    DENSITIES = (0.5, 0.2, 0.9)

    def test_linear(self, rescale: str, normalize: bool) -> None:
        """``base + s·Σ wᵢ fᵢ maskᵢ dᵢ``, divided by the sum of the weights if asked."""
        inputs = related((60, 70), 3, 6)
        base, *experts = (tensor.numpy() for tensor in inputs)
        deltas = np.array([expert - base for expert in experts])
        kept = [m.reshape(60, 70) for m in masks([t.reshape(-1) for t in inputs], list(self.DENSITIES))]
        multiplied = factors(deltas, kept, list(self.DENSITIES), rescale)
        total = sum(w * f * m * d for w, f, m, d in zip(WEIGHTS, multiplied, kept, deltas, strict=True))
        expected = base + 0.8 * total / (sum(WEIGHTS) if normalize else 1.0)
        options = {"density": list(self.DENSITIES), "rescale": rescale, "normalize": normalize, "scale": 0.8}
        # An L1 norm is the sum of numbers rounded to float32.
        np.testing.assert_allclose(merged(dare_linear, inputs, **options), expected, rtol=1e-7, atol=1e-9)

    def test_ties(self, rescale: str, normalize: bool) -> None:
        """The same, of those differences only whose sign the weighted sum has; divided by their weights if asked."""
        inputs = related((60, 70), 3, 7)
        base, *experts = (tensor.numpy() for tensor in inputs)
        deltas = np.array([expert - base for expert in experts])
        kept = [m.reshape(60, 70) for m in masks([t.reshape(-1) for t in inputs], list(self.DENSITIES))]
        multiplied = factors(deltas, kept, list(self.DENSITIES), rescale)
        votes = np.array([w * f * m * d for w, f, m, d in zip(WEIGHTS, multiplied, kept, deltas, strict=True)])
        agree = (np.sign(votes) == np.sign(votes.sum(0))) & (votes != 0)
        share = (np.array(WEIGHTS)[:, None, None] * agree).sum(0)
        divisor = np.where(share == 0, 1.0, share) if normalize else 1.0
        expected = base + 0.8 * (votes * agree).sum(0) / divisor
        options = {"density": list(self.DENSITIES), "rescale": rescale, "normalize": normalize, "scale": 0.8}
        np.testing.assert_allclose(merged(dare_ties, inputs, **options), expected, rtol=1e-7, atol=1e-9)


def test_the_expected_value_is_task_arithmetics() -> None:
    """The mean over seeds of ``base + d·mask/p`` tends to ``base + d``: within five standard errors everywhere."""
    base, expert = related((64,), 1, 8)
    density, seeds = 0.3, 400
    total = sum(dare_linear(base, [expert], [1.0], density=density, seed=seed) for seed in range(seeds))
    error = (total / seeds - expert).abs()
    deviation = (expert - base).abs() * math.sqrt((1 - density) / density / seeds)
    assert torch.all(error < 5 * deviation)


@pytest.mark.parametrize("method", [dare_linear, dare_ties])
def test_the_l1_norm_comes_back(method: Any) -> None:
    """What is left of one expert's difference is as long as it was; divided by p it is about as long."""
    base, expert = torch.zeros(5000, dtype=torch.float64), related((5000,), 1, 9)[1]
    norm = float(expert.abs().sum())
    exact = method(base, [expert], [1.0], density=0.3, rescale="l1")
    assert float(exact.abs().sum()) == pytest.approx(norm, rel=1e-8)
    about = method(base, [expert], [1.0], density=0.3)
    assert float(about.abs().sum()) == pytest.approx(norm, rel=0.1)
    assert not torch.equal(bits(exact), bits(about))
    assert torch.equal(exact != 0, about != 0)
