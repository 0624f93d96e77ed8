"""multislerp and karcher: means of any number of directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tensors import STORED, awkward, bits, merge, normal, related

from cogen.errors import UsageError
from cogen.merging.methods.karcher import karcher
from cogen.merging.methods.multislerp import multislerp
from cogen.merging.methods.nuslerp import nuslerp
from cogen.merging.methods.slerp import slerp

SETTINGS = settings(deadline=None)
WEIGHTS = st.lists(st.floats(0.05, 3.0), min_size=1, max_size=5)


def spread(seed: int, count: int, width: float) -> list[torch.Tensor]:
    """Tensors of different lengths around a common direction."""
    common, *own = normal((6, 5), count + 1, seed)
    return [(1.0 + 0.2 * i) * (common + width * tensor) for i, tensor in enumerate(own)]


def logarithm(mean: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The tangent vector at ``mean`` that leads to ``unit``."""
    rest = unit - (unit @ mean) * mean
    length = np.linalg.norm(rest)
    return rest * (math.atan2(length, unit @ mean) / length) if length > 0 else rest


def reference(tensors: list[torch.Tensor], weights: list[float], steps: int) -> np.ndarray:
    """Log, weighted sum, exp: on whole vectors, in float64."""
    shares = np.array(weights) / np.sum(weights)
    vectors = np.stack([tensor.numpy().reshape(-1) for tensor in tensors])
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / lengths[:, None]
    mean = shares @ units / np.linalg.norm(shares @ units)
    for _ in range(steps):
        tangent = sum(share * logarithm(mean, unit) for share, unit in zip(shares, units, strict=True))
        length = np.linalg.norm(tangent)
        mean = math.cos(length) * mean + (math.sin(length) / length * tangent if length > 0 else 0.0)
        mean = mean / np.linalg.norm(mean)
    return (shares @ lengths * mean).reshape(tensors[0].shape)


class TestMultislerp:
    """exp_m(Σ wᵢ log_m(uᵢ)) at the normalised weighted mean m, times the weighted mean of the lengths."""

    @SETTINGS
    @given(seed=st.integers(0, 1000), weights=WEIGHTS, width=st.floats(0.01, 1.5))
    def test_reference(self, seed: int, weights: list[float], width: float) -> None:
        """On whole vectors it is the same as on their inner products."""
        tensors = spread(seed, len(weights), width)
        expected = reference(tensors, weights, 1)
        found = multislerp(None, tensors, weights).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())

    def test_reference_with_a_base(self) -> None:
        """Around the base: the differences are on the sphere."""
        base, *experts = related((6, 5), 4, 1)
        weights = [0.1, 0.4, 0.3, 0.5]
        expected = base.numpy() + reference([expert - base for expert in experts], weights, 1)
        np.testing.assert_allclose(multislerp(base, experts, weights).numpy(), expected, rtol=0, atol=1e-13)

    @SETTINGS
    @given(seed=st.integers(0, 1000), weight=st.floats(0.01, 0.99), width=st.floats(0.05, 30.0))
    def test_of_two_it_is_slerp(self, seed: int, weight: float, width: float) -> None:
        """At t = w₁/(w₀ + w₁), at any angle between vectors of one length."""
        a, b = (tensor / tensor.norm() for tensor in spread(seed, 2, width))
        found = multislerp(None, [a, b], [3 * (1 - weight), 3 * weight])
        torch.testing.assert_close(found, nuslerp(None, [a, b], [1 - weight, weight]), rtol=0, atol=1e-12)
        if abs((a * b).sum()) < 0.9995:
            torch.testing.assert_close(found, slerp(None, [a, b], [1.0, 1.0], t=weight), rtol=0, atol=1e-12)

    def test_it_is_not_the_normalised_mean(self) -> None:
        """Eight tenths of the way over a right angle are 72°; the mean's direction is at 76°."""
        axes = [torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [0.0, 1.0])]
        x, y = multislerp(None, axes, [0.2, 0.8]).tolist()
        assert math.degrees(math.atan2(y, x)) == pytest.approx(72.0, abs=1e-12)
        assert math.hypot(x, y) == pytest.approx(1.0, abs=1e-15)

    def test_weights_that_are_not_normalised(self) -> None:
        """Their sum multiplies the result; around a base, the way from it."""
        base, *experts = related((6, 5), 3, 2)
        weights = [0.5, 1.0, 0.3]
        plain, around = (multislerp(anchor, experts, weights) for anchor in (None, base))
        np.testing.assert_allclose(
            multislerp(None, experts, weights, normalize=False).numpy(), 1.8 * plain.numpy(), rtol=1e-14
        )
        longer = multislerp(base, experts, weights, normalize=False)
        np.testing.assert_allclose((longer - base).numpy(), 1.8 * (around - base).numpy(), rtol=0, atol=1e-14)


class TestKarcher:
    """The point of the sphere with the least weighted sum of squared arcs, times the weighted mean of the lengths."""

    @SETTINGS
    @given(seed=st.integers(0, 1000), weights=WEIGHTS, width=st.floats(0.01, 0.9))
    def test_reference(self, seed: int, weights: list[float], width: float) -> None:
        """A hundred steps on whole vectors; that at the result the tangents balance, there is no better point near."""
        tensors = spread(seed, len(weights), width)
        expected = reference(tensors, weights, 100)
        found = karcher(None, tensors, weights).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.linalg.norm(expected))
        mean = found.reshape(-1) / np.linalg.norm(found)
        units = [tensor.numpy().reshape(-1) / tensor.norm().item() for tensor in tensors]
        left = sum(w * logarithm(mean, unit) for w, unit in zip(weights, units, strict=True)) / sum(weights)
        assert np.linalg.norm(left) < 1e-6

    def test_no_point_near_is_better(self) -> None:
        """The sum of squared arcs grows in every direction."""
        tensors, weights = spread(3, 4, 0.7), [0.2, 1.0, 0.5, 0.3]
        units = [tensor.numpy().reshape(-1) / tensor.norm().item() for tensor in tensors]

        def cost(point: np.ndarray) -> float:
            mean = point / np.linalg.norm(point)
            return sum(w * np.sum(logarithm(mean, unit) ** 2) for w, unit in zip(weights, units, strict=True))

        mean = karcher(None, tensors, weights).numpy().reshape(-1)
        mean /= np.linalg.norm(mean)
        generator = np.random.default_rng(4)
        for _ in range(50):
            assert cost(mean + 1e-3 * generator.standard_normal(mean.shape)) > cost(mean)

    def test_of_two_it_is_slerp(self) -> None:
        """On a great circle the mean is a point of the arc, by the weights."""
        a, b = (tensor / tensor.norm() for tensor in spread(5, 2, 1.0))
        found = karcher(None, [a, b], [0.3, 0.7])
        torch.testing.assert_close(found, slerp(None, [a, b], [1.0, 1.0], t=0.7), rtol=0, atol=1e-12)

    def test_it_starts_where_the_mean_is_and_ends_where_it_is_told(self) -> None:
        """Without a step it is the normalised mean, with one multislerp; further ones bring it nearer."""
        tensors, weights = spread(6, 3, 1.2), [0.1, 0.2, 0.7]
        none, one, two = (karcher(None, tensors, weights, max_iter=n) for n in (0, 1, 2))
        last = karcher(None, tensors, weights)
        np.testing.assert_allclose(none.numpy(), reference(tensors, weights, 0), rtol=0, atol=1e-13)
        assert torch.equal(one, multislerp(None, tensors, weights))
        distances = [(tensor - last).norm().item() for tensor in (none, one, two)]
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] > 0
        assert torch.equal(karcher(None, tensors, weights, tol=10.0), one)


@pytest.mark.parametrize("method", [multislerp, karcher], ids=lambda method: method.name)
class TestBoth:
    """What the two means have in common."""

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_all_weight_on_one(self, method: object, dtype: torch.dtype) -> None:
        """It is that expert, every bit, whatever infinities the others hold."""
        base, *experts = (awkward(dtype, seed) for seed in (7, 8, 9, 10))
        experts[1][0, 0] = math.inf
        found = merge(method, base, experts, [0.0, 0.0, 0.3])
        assert torch.equal(bits(found), bits(experts[2]))

    def test_weights_scale_out(self, method: object) -> None:
        """Eight times the weights: not a bit changes."""
        experts, weights = normal((7, 9), 3, 11, torch.float32), [0.3, 1.1, 0.45]
        one, two = (merge(method, None, experts, [w * factor for w in weights]) for factor in (1.0, 8.0))
        assert torch.equal(one, two)

    def test_parallel_vectors_of_other_lengths(self, method: object) -> None:
        """One direction: the lengths alone are averaged."""
        vector = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        found = method(None, [vector, 3 * vector, 0.1 * vector], [1.0, 2.0, 1.0])
        np.testing.assert_allclose(found.numpy(), (7.1 / 4 * vector).numpy(), rtol=1e-14)

    def test_zeros_count_in_the_length(self, method: object) -> None:
        """They have no direction to take part with."""
        a, b = (torch.tensor(v, dtype=torch.float64) for v in ([2.0, 0.0, 0.0], [0.0, 2.0, 0.0]))
        x, y, z = method(None, [a, torch.zeros(3, dtype=torch.float64), b], [1.0, 4.0, 3.0]).tolist()
        assert math.degrees(math.atan2(y, x)) == pytest.approx(67.5, abs=1e-6)
        assert math.hypot(x, y) == pytest.approx(1.0, abs=1e-14)
        assert z == 0.0
        assert method(None, [torch.zeros(3), torch.zeros(3)], [1.0, 2.0]).tolist() == [0.0, 0.0, 0.0]

    def test_directions_that_cancel_out(self, method: object) -> None:
        """There is no mean direction: the weighted mean of the vectors."""
        a, b = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [0.0, 3.0]))
        assert method(None, [a, -a], [1.0, 1.0]).tolist() == [0.0, 0.0]
        assert method(None, [a, -a, b, -b], [1.0] * 4).tolist() == [0.0, 0.0]
        assert method(None, [a, -a], [3.0, 1.0]).tolist() == [0.5, 0.0]

    def test_directions_that_nearly_cancel_out(self, method: object) -> None:
        """What is left of them is too little to point anywhere; nor is there a way to what is opposite to the mean."""
        a, b = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [-1.0, 2.0**-8]))
        assert method(None, [a, b], [1.0, 1.0]).tolist() == [0.0, 2.0**-9]
        assert method(None, [a, b], [3.0, 1.0]).tolist() == [0.5, 2.0**-10]

    def test_an_expert_without_weight_is_not_there(self, method: object) -> None:
        """Nor are its infinities."""
        a, b, c = normal((40,), 3, 12)
        expected = method(None, [a, b], [1.0, 2.0])
        c[3] = math.inf
        assert torch.equal(method(None, [a, c, b], [1.0, 0.0, 2.0]), expected)
        assert expected.norm() > (a / 3 + 2 * b / 3).norm() * 1.1

    def test_a_weight_may_be_negative_but_not_all_of_them_nothing(self, method: object) -> None:
        """Away from the second over the first; a sum of zero cannot be divided by."""
        a, b = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [0.0, 1.0]))
        x, y = method(None, [a, b], [1.5, -0.5]).tolist()
        assert math.degrees(math.atan2(y, x)) == pytest.approx(-45.0, abs=1e-6)
        with pytest.raises(UsageError, match="sum to zero"):
            method(None, [a, b], [1.0, -1.0])
