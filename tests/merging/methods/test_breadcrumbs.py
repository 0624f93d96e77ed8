"""Model Breadcrumbs against a sort, and the example and the edge case of mergekit's guide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.tensors import related

from cogen.errors import UsageError
from cogen.merging.methods.breadcrumbs import breadcrumbs, breadcrumbs_ties

SETTINGS = settings(deadline=None)
SHARES = st.sampled_from([0.02, 0.1, 0.3, 0.5, 0.85, 0.9, 1.0])


def band(difference: np.ndarray, density: float, gamma: float) -> np.ndarray:
    """The middle of the magnitudes, largest first and of equal ones the first; 0 elsewhere."""
    size = difference.size
    target = max(1, int(density * size))
    dropped = min(int(gamma * size), size - target)
    order = sorted(range(size), key=lambda i: (-abs(difference[i]), i))[dropped : dropped + target]
    found = np.zeros_like(difference)
    found[order] = difference[order]
    return found


@SETTINGS
@given(
    data=st.data(),
    size=st.integers(1, 40),
    rescale=st.sampled_from(["none", "l1"]),
    normalize=st.booleans(),
    scale=st.sampled_from([0.3, 1.0]),
)
def test_formulas(data: st.DataObject, size: int, rescale: str, normalize: bool, scale: float) -> None:
    """The weighted sum of what is left; with the signs elected, of those that have the sum's sign."""
    numbers = st.lists(st.integers(-9, 9).map(lambda n: n / 4), min_size=size, max_size=size)
    base, *experts = (np.array(data.draw(numbers)) for _ in range(3))
    densities, gammas = data.draw(st.tuples(SHARES, SHARES)), data.draw(st.sampled_from([(0.0, 0.1), (0.01, 0.5)]))
    weights = [0.5, 2.0]
    parts = []
    for expert, density, gamma, weight in zip(experts, densities, gammas, weights, strict=True):
        delta = band(expert - base, density, gamma)
        left = np.abs(delta).sum()
        factor = np.abs(expert - base).sum() / left if rescale == "l1" and left else 1.0
        parts.append(weight * factor * delta)
    options = {"density": densities, "gamma": gammas, "rescale": rescale, "normalize": normalize, "scale": scale}
    inputs = torch.from_numpy(base), [torch.from_numpy(expert) for expert in experts], weights
    expected = base + scale * sum(parts) / (2.5 if normalize else 1.0)
    np.testing.assert_allclose(breadcrumbs(*inputs, **options).numpy(), expected, rtol=1e-6, atol=1e-6)
    votes = np.array(parts)
    # Whether rescaled differences cancel is a matter of rounding.
    assume(rescale == "none" or not np.any((np.abs(votes.sum(0)) < 1e-5) & (votes.sum(0) != 0)))
    agree = (np.sign(votes) == np.sign(votes.sum(0))) & (votes != 0)
    share = (np.array(weights)[:, None] * agree).sum(0)
    expected = base + scale * (votes * agree).sum(0) / (np.where(share == 0, 1, share) if normalize else 1)
    np.testing.assert_allclose(breadcrumbs_ties(*inputs, **options).numpy(), expected, rtol=1e-6, atol=1e-6)


def left(size: int, **options: float) -> list[int]:
    """The ranks by magnitude, 0 the smallest, that are left of a difference."""
    found = breadcrumbs(torch.zeros(size), [torch.arange(1.0, size + 1)], [1.0], **options)
    return found.nonzero().reshape(-1).tolist()


def test_the_guides_example() -> None:
    """Density 0.9 and gamma 0.01: the largest 1 % and the smallest 9 % go."""
    assert left(100, density=0.9, gamma=0.01) == list(range(9, 99))


def test_the_guides_edge_case() -> None:
    """Gamma above 1 - density: only 1 - density of the largest go, and none of the smallest."""
    assert left(100, density=0.9, gamma=0.5) == list(range(90))
    assert left(100, density=1.0, gamma=0.5) == list(range(100))


@pytest.mark.parametrize(("size", "kept"), [(1, [0]), (2, [1]), (10, list(range(1, 10))), (64, list(range(7, 64)))])
def test_small_tensors_keep_their_share(size: int, kept: list[int]) -> None:
    """Where gamma is less than one element nothing large is dropped, and at least one element stays."""
    assert left(size, density=0.9, gamma=0.01) == kept


def test_gamma_is_a_share() -> None:
    """From 0 to 1."""
    for gamma in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError, match="gamma must be between 0 and 1"):
            breadcrumbs(torch.ones(2), [torch.ones(2)], [1.0], gamma=gamma)


def test_the_l1_norm_comes_back() -> None:
    """The middle alone is as long as the whole."""
    expert = related((5000,), 1, 1)[1]
    found = breadcrumbs(torch.zeros(5000, dtype=torch.float64), [expert], [1.0], density=0.5, gamma=0.2, rescale="l1")
    assert float(found.abs().sum()) == pytest.approx(float(expert.abs().sum()), rel=1e-8)
    assert int(found.count_nonzero()) == 2500
