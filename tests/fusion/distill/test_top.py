"""The largest entries of rows against a stable sort of everything."""

from __future__ import annotations

import math

import pytest
import torch

from cogen.fusion.distill.teachers.top import top_k


def sorted_k(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A stable sort leaves equal entries in the order of their columns."""
    found = torch.sort(values.float(), dim=1, descending=True, stable=True)
    return values.gather(1, found.indices[:, :k]), found.indices[:, :k]


def same(values: torch.Tensor, k: int) -> None:
    found, columns = top_k(values, k)
    wanted, places = sorted_k(values, k)
    assert torch.equal(columns, places)
    assert torch.equal(found, wanted)
    assert found.dtype == values.dtype


@pytest.mark.parametrize("width", [1, 2, 10, 63, 64, 65, 1000, 4097])
@pytest.mark.parametrize("k", [1, 2, 10, 128])
def test_of_any_width(width: int, k: int) -> None:
    """Whole blocks, a last one that is cut, and rows too short for blocks."""
    if k <= width:
        same(torch.randn(7, width, generator=torch.Generator().manual_seed(width)), k)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_of_equal_entries_the_lower_column_goes_first(dtype: torch.dtype) -> None:
    """Logits in bfloat16 are full of them: 30,000 draws have some hundreds of values."""
    same(torch.randn(4, 30_000, generator=torch.Generator().manual_seed(1)).to(dtype), 50)
    same(torch.zeros(3, 999, dtype=dtype), 17)
    same(torch.randint(-2, 3, (5, 999), generator=torch.Generator().manual_seed(2)).to(dtype), 300)


def test_zeros_and_infinities() -> None:
    """Minus zero is zero; what is masked comes last and by its column."""
    values = torch.tensor([[-0.0, 0.0, math.inf, -math.inf, -1e-40, 1e-40, -3.0, math.inf]])
    assert top_k(values, 8)[1].tolist() == [[2, 7, 5, 0, 1, 4, 6, 3]]
    masked = torch.full((2, 700), -math.inf)
    masked[1, 600] = -1e30
    assert top_k(masked, 3)[1].tolist() == [[0, 1, 2], [600, 0, 1]]


def test_all_of_them_is_a_sort() -> None:
    same(torch.randn(5, 100, generator=torch.Generator().manual_seed(3)), 100)


def test_a_slice_of_a_wider_tensor() -> None:
    """The output head's padding is cut off by a view (pitfall 12)."""
    wide = torch.randn(6, 1100, generator=torch.Generator().manual_seed(4))
    wide[:, 1000:] = 100.0
    same(wide[:, :1000], 10)
    same(wide.t()[:50], 3)


def test_no_rows() -> None:
    found, columns = top_k(torch.zeros(0, 500), 10)
    assert found.shape == columns.shape == (0, 10)


def test_its_gradient_goes_to_what_was_found() -> None:
    values = torch.randn(3, 400, generator=torch.Generator().manual_seed(5), requires_grad=True)
    found, columns = top_k(values, 4)
    (found * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    wanted = torch.zeros(3, 400).scatter(1, columns, torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(3, 4))
    assert values.grad is not None
    assert torch.equal(values.grad, wanted)


@pytest.mark.parametrize("k", [0, 11])
def test_more_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"top {k} of 10 columns"):
        top_k(torch.zeros(1, 10), k)
