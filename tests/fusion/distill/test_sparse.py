"""The likeliest tokens in few bytes: ids exact, values within what is promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.fusion.distill.teachers.sparse import pack, unpack


def check(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Round trip within the bound that :func:`unpack` states; the values read."""
    k = ids.shape[1]
    there, output = unpack(pack(ids, values), k)
    assert there.dtype == np.int32
    assert output.dtype == np.float32
    assert (np.diff(output, axis=1) <= 0).all()
    wanted = np.take_along_axis(values, ids.argsort(1), 1).astype(np.float64)
    found = np.take_along_axis(output, there.argsort(1), 1)
    assert np.array_equal(np.sort(there, 1), np.sort(ids, 1))
    high, low = (edge(values, axis=1, keepdims=True).astype(np.float16).astype(np.float64) for edge in (np.max, np.min))
    span = np.maximum(high - low, 1e-6)
    x = np.clip((high - wanted) / span, 0, 1)
    # What lies outside of the rounded ends is drawn to them.
    outside = np.maximum(wanted - high, 0) + np.maximum(high - span - wanted, 0)
    bound = span * (np.sqrt(x) / 255 + 1 / 510**2) + outside + 1e-6 * (1 + np.abs(wanted))
    assert (np.abs(found - wanted) <= bound).all()
    return output


@given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0.01, 60))
@settings(deadline=None, max_examples=60)
def test_round_trip_of_a_softmax(seed: int, k: int, spread: float) -> None:
    random = torch.Generator().manual_seed(seed)
    values, ids = (spread * torch.randn(5, 70_000, generator=random)).log_softmax(1).clamp(min=-1000).topk(k)
    check(ids.int().numpy(), values.numpy())


@given(st.data(), st.integers(1, 12))
@settings(deadline=None, max_examples=100)
def test_round_trip_of_anything(data: st.DataObject, k: int) -> None:
    """Any ids below 2^24, any log-probabilities, in any order."""
    id, value = st.integers(0, 2**24 - 1), st.floats(-1000, 0, width=32)
    rows = data.draw(st.lists(st.lists(id, min_size=k, max_size=k, unique=True), min_size=1, max_size=4))
    values = [data.draw(st.lists(value, min_size=k, max_size=k)) for _ in rows]
    check(np.array(rows, dtype=np.int32), np.array(values, dtype=np.float32))


@pytest.mark.parametrize("ids", [[0, 255, 511, 767], [256, 65_791, 65_792, 131_328], [2**24 - 1, 0, 2**24 - 2, 65_536]])
def test_gaps_of_one_two_and_three_bytes(ids: list[int]) -> None:
    there, _ = unpack(pack(np.array([ids], dtype=np.int32), np.array([[-1.0, -2.0, -3.0, -4.0]])), 4)
    assert there.tolist() == [ids]


def test_equal_values_stay_equal() -> None:
    output = check(np.arange(8, dtype=np.int32)[None], np.full((1, 8), -2.0794415, dtype=np.float32))
    assert len(set(output[0].tolist())) == 1


def test_a_row_does_not_depend_on_the_others() -> None:
    values, ids = (3 * torch.randn(6, 5000)).log_softmax(1).topk(20)
    there, output = unpack(pack(ids.int().numpy(), values.numpy()), 20)
    for row in range(6):
        alone = unpack(pack(ids[row : row + 1].int().numpy(), values[row : row + 1].numpy()), 20)
        assert np.array_equal(alone[0][0], there[row])
        assert np.array_equal(alone[1][0], output[row])


def test_the_sureness_of_a_row_comes_across() -> None:
    """The likeliest token's probability is right to half a percent, whatever lies far below it."""
    random = torch.Generator().manual_seed(3)
    values, ids = (6 * torch.randn(64, 20_000, generator=random)).log_softmax(1).topk(128)
    _, output = unpack(pack(ids.int().numpy(), values.numpy()), 128)
    np.testing.assert_allclose(np.exp(output[:, 0]), values[:, 0].exp(), rtol=5e-3)


def test_size() -> None:
    """At k = 128 of 262,144 tokens, with Zipf's law over a shuffled vocabulary: about 300 bytes a row."""
    random = torch.Generator().manual_seed(0)
    law = -1.1 * torch.arange(1, 262_145).log()
    rows = []
    for _ in range(256):
        logits = law[torch.randperm(262_144, generator=random)] + 0.5 * torch.randn(262_144, generator=random)
        rows.append(logits.log_softmax(0).topk(128))
    ids = torch.stack([row.indices for row in rows]).int().numpy()
    size = sum(plane.nbytes for plane in pack(ids, torch.stack([row.values for row in rows]).numpy()).values())
    assert 200 < size / 256 < 340
