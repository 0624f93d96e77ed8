"""RAM and RAM+ against the definition: unchanged, unique and shared positions."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.merging.methods.ram import ram
from cogen.merging.methods.ramplus_tl import ramplus_tl

SETTINGS = settings(deadline=None)
#: Mostly unchanged, as after reinforcement learning; 0.5 is the threshold below, which is no change yet.
CHANGES = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, -0.5, 1.0, -3.0, 2.5]), min_size=10, max_size=10)


@st.composite
def agents(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[float]]:
    count = draw(st.integers(1, 4))
    base = np.array(draw(CHANGES)) * 8
    deltas = np.array([draw(CHANGES) for _ in range(count)])
    weights = draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=count, max_size=count))
    return base, deltas, weights


def shared_mean(deltas: np.ndarray, weights: list[float], gains: list[float]) -> np.ndarray:
    """Position by position: nothing, one expert's own change times its gain, or the mean of the changes."""
    found = np.zeros(deltas.shape[1])
    for i in range(found.size):
        changed = [k for k in range(len(deltas)) if abs(deltas[k][i]) > 0.5]
        if len(changed) == 1:
            found[i] = gains[changed[0]] * deltas[changed[0]][i]
        elif changed:
            found[i] = sum(weights[k] * deltas[k][i] for k in changed) / sum(weights[k] for k in changed)
    return found


@SETTINGS
@given(inputs=agents(), scale=st.sampled_from([0.3, 1.0, 2.0]))
def test_ram(inputs: tuple[np.ndarray, np.ndarray, list[float]], scale: float) -> None:
    """Unique changes whole, shared ones averaged, small ones dropped."""
    base, deltas, weights = inputs
    expected = base + scale * shared_mean(deltas, weights, [1.0] * len(deltas))
    found = ram(torch.from_numpy(base), list(torch.from_numpy(base + deltas)), weights, epsilon=0.5, scale=scale)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@SETTINGS
@given(inputs=agents(), r=st.sampled_from([0.0, 0.1, 0.5]), alpha=st.sampled_from([0.2, 1.0, 3.0]))
def test_ramplus(inputs: tuple[np.ndarray, np.ndarray, list[float]], r: float, alpha: float) -> None:
    """Unique changes times ``1 + r·min(shared / unique, α)``."""
    base, deltas, weights = inputs
    changed = np.abs(deltas) > 0.5
    alone = changed.sum(0) == 1
    gains = [1 + r * min((c & ~alone).sum() / max((c & alone).sum(), 1), alpha) for c in changed]
    expected = base + shared_mean(deltas, weights, gains)
    options = {"epsilon": 0.5, "r": r, "alpha": alpha}
    found = ramplus_tl(torch.from_numpy(base), list(torch.from_numpy(base + deltas)), weights, **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_the_paper_by_hand() -> None:
    """Two agents: one unique change each, one shared, r = 0.5 and α = 1: ρ = 1 and 1/2."""
    base = torch.zeros(5)
    one, two = torch.tensor([1.0, 4.0, 0.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 1.0, 1.0, 0.0])
    assert ram(base, [one, two], [1.0, 1.0]).tolist() == [1.0, 3.0, 1.0, 1.0, 0.0]
    assert ramplus_tl(base, [one, two], [1.0, 1.0], r=0.5, alpha=1.0).tolist() == [1.5, 3.0, 1.25, 1.25, 0.0]
    assert ramplus_tl(base, [one, two], [1.0, 1.0], r=0.5, alpha=0.5).tolist() == [1.25, 3.0, 1.25, 1.25, 0.0]


def test_the_threshold_is_small() -> None:
    """1e-5 unless given; a difference as large as the threshold is none."""
    base = torch.zeros(3, dtype=torch.float64)
    expert = torch.tensor([1.1e-5, 0.9e-5, -1.1e-5], dtype=torch.float64)
    assert ram(base, [expert], [1.0]).tolist() == [1.1e-5, 0.0, -1.1e-5]
    assert ram(base, [expert], [1.0], epsilon=1.1e-5).tolist() == [0.0, 0.0, 0.0]
