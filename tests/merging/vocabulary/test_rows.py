"""Assembled tensors hold what a loop over their rows would put there, wherever they are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.merging.block import InMemory
from cogen.merging.vocabulary.rows import MEAN, SUMS, ZERO, Assembled, Sums, take

SETTINGS = settings(deadline=None)


def random(rows: int, columns: int | None, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    shape = (rows,) if columns is None else (rows, columns)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Counting:
    """An operand that counts its reads."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.held, self.reads, self.elements = InMemory(tensor, "own"), 0, 0
        self.shape, self.dtype, self.key = self.held.shape, self.held.dtype, self.held.key

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        self.reads, self.elements = self.reads + 1, self.elements + stop - start
        return self.held.read(start, stop, dtype)


@SETTINGS
@given(rows=st.lists(st.integers(0, 40), max_size=30), columns=st.sampled_from([None, 1, 3]))
def test_take_is_indexing(rows: list[int], columns: int | None) -> None:
    """Any rows, in any order, several times over."""
    tensor = random(41, columns, 0)
    found = take(InMemory(tensor), np.array(rows, dtype=np.int64), torch.float64)
    assert torch.equal(found, tensor.double()[rows].reshape(len(rows), columns or 1))


def test_take_reads_neighbours_together() -> None:
    """A run of rows is one read, small gaps included; rows that are far apart are not read over."""
    operand = Counting(random(100, 1 << 14, 0))
    take(operand, np.array([5, 3, 4, 90, 6, 92]), torch.float32)
    assert (operand.reads, operand.elements) == (2, (4 + 3) << 14)


def assembled(columns: int | None, dtype: torch.dtype = torch.float32) -> tuple[Assembled, torch.Tensor]:
    """One with every kind of row, and what it has to hold."""
    own, other = random(9, columns, 1, dtype), random(5, columns, 2, dtype)
    members = np.array([0, 1, 2, 5])
    first = Sums.of([[(7, 2, 1 / 3), (7, 0, 1 / 3), (7, 8, 1 / 3)], [], [(7, 4, -2.0)]])
    second = Sums.of([[(7, 1, 0.5), (9, 3, 0.5)]])
    plan = [
        (7, 3),
        (7, 4),
        (9, 0),
        (ZERO, 0),
        (SUMS, 2),
        (MEAN, 0),
        (SUMS - 1, 0),
        (SUMS, 0),
        (9, 4),
        (SUMS, 1),
        (7, 8),
    ]
    which, row = np.array(plan).T
    found = Assembled(
        {7: InMemory(own, "own"), 9: InMemory(other, "other")},
        7,
        which,
        row,
        members,
        (lambda: first, lambda: second),
    )
    a, b = own.double(), other.double()
    wanted = [
        a[3],
        a[4],
        b[0],
        0 * a[0],
        -2 * a[4],
        a[[0, 1, 2, 5]].mean(dim=0),
        (a[1] + b[3]) / 2,
        (a[2] + a[0] + a[8]) / 3,
        b[4],
        0 * a[0],
        a[8],
    ]
    return found, torch.stack(wanted)


@pytest.mark.parametrize("columns", [None, 1, 4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_kind_of_row(columns: int | None, dtype: torch.dtype) -> None:
    """Rows of the model and of others, zeros, the mean, sums over one model and over two."""
    found, wanted = assembled(columns, dtype)
    assert found.shape == tuple(wanted.shape)
    assert (found.dtype, found.key) == (str(dtype).removeprefix("torch."), "own")
    read = found.read(0, wanted.numel(), torch.float64)
    torch.testing.assert_close(read.reshape(wanted.shape), wanted, rtol=1e-15, atol=1e-16)
    exact = [0, 1, 2, 3, 4, 8, 9, 10]
    assert torch.equal(read.reshape(wanted.shape)[exact], wanted[exact])


@SETTINGS
@given(cut=st.tuples(st.integers(0, 44), st.integers(0, 44)))
def test_the_cut_changes_no_bit(cut: tuple[int, int]) -> None:
    """Any part is the same as that part of the whole, also where it begins inside a row."""
    found, wanted = assembled(4)
    start, stop = sorted(cut)
    whole = found.read(0, wanted.numel(), torch.float32)
    assert torch.equal(found.read(start, stop, torch.float32), whole[start:stop])


def test_the_mean_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the value is that of a float64 mean."""
    tensor = random(1000, 8, 3)
    members = np.arange(0, 1000, 3)
    monkeypatch.setattr("cogen.merging.vocabulary.rows.BLOCK", 256)
    one = Assembled({0: InMemory(tensor)}, 0, np.array([MEAN]), np.array([0]), members).mean()
    torch.testing.assert_close(one, tensor.double()[::3].mean(dim=0), rtol=1e-13, atol=1e-15)


def test_sums_are_made_when_they_are_needed() -> None:
    """A pursuit takes long; a block without its rows doesn't start it."""
    calls = []

    def late() -> Sums:
        calls.append(1)
        return Sums.of([[(0, 0, 1.0)]])

    held = Assembled(
        {0: InMemory(random(4, 2, 0))}, 0, np.array([1 * 0, 0, SUMS]), np.array([0, 3, 0]), np.arange(4), (late,)
    )
    held.read(0, 4, torch.float32)
    assert calls == []
    held.read(0, 6, torch.float32)
    assert calls == [1]


def test_empty_widths() -> None:
    """A tensor without columns, and no elements asked for."""
    held = Assembled({0: InMemory(torch.zeros(3, 0))}, 0, np.array([0, ZERO]), np.array([0, 0]), np.arange(3))
    assert held.read(0, 0, torch.float32).shape == (0,)
    assert held.shape == (2, 0)
