"""The engine that reads logits a slice at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from support.pairs import made_pair
from torch.utils._python_dispatch import TorchDispatchMode

from cogen.fusion.distill.losses.alm import Alm
from cogen.fusion.distill.losses.graph import Graph
from cogen.fusion.distill.losses.kl import Kl
from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import Pair
from cogen.fusion.distill.losses.projection import HybridKl, ProjectionKl
from cogen.fusion.distill.losses.rows import measured
from cogen.fusion.distill.losses.uld import Uld
from cogen.fusion.distill.wanted import Wanted

V = 50


def losses() -> list[Any]:
    words = torch.arange(V) % 3 == 0
    return [LanguageModel(), Uld(4), Alm(words), Kl(7)]


def weighted(logits: torch.Tensor, pair: Pair, **options: Any) -> torch.Tensor:
    asked = [(loss, pair) for loss in losses()]
    found = measured(logits, asked, **options)
    return sum(
        weight * loss.total(values, pair)[0]
        for weight, (loss, _), values in zip((1.0, 0.3, 2.0, -0.7), asked, found, strict=True)
    )


def plain(logits: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Each loss by itself, on all of its rows at once."""
    total = torch.zeros((), dtype=logits.dtype)
    for weight, loss in zip((1.0, 0.3, 2.0, -0.7), losses(), strict=True):
        rows = loss.rows(pair)
        values = loss.measure(logits[rows], logits[rows].logsumexp(1), rows, torch.arange(len(rows)), pair)
        total = total + weight * loss.total(values, pair)[0]
    return total


@dataclass(frozen=True)
class Some:
    """A loss that asks for rows of its own, in an order of its own, and tells two numbers of each."""

    asked: tuple[int, ...]
    factor: float
    name: str = "some"
    needs: Wanted = field(default_factory=Wanted)

    def rows(self, pair: Pair) -> torch.Tensor:
        return torch.tensor(self.asked, dtype=torch.int64)

    def measure(
        self, logits: torch.Tensor, lse: torch.Tensor, rows: torch.Tensor, at: torch.Tensor, pair: Pair
    ) -> torch.Tensor:
        assert rows.tolist() == [self.asked[place] for place in at.tolist()]
        token = logits.gather(1, pair.targets[rows, None].clamp(min=0))[:, 0]
        return torch.stack([self.factor * (token - lse) ** 2, (at + 1) * logits.softmax(1).square().sum(1)], 1)


@pytest.mark.parametrize("elements", [1, V, 2 * V, 5 * V, 10_000])
def test_rows_in_any_order_and_other_ones_for_each_loss(elements: int) -> None:
    """Overlapping, apart, all, one, none: values come in the order in which they were asked for."""
    logits, pair = made_pair(V, seed=8, dtype=torch.float64)
    n = len(logits)
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(1)).tolist()
    sets = [(5, 1, 9, 2), tuple(shuffled), (), (n - 1, 0), (7,), tuple(range(3, 12))]
    some = [Some(rows, 0.5 + number) for number, rows in enumerate(sets)]
    one, two = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    found = measured(one, [(loss, pair) for loss in some], elements=elements)
    total, wanted = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for loss, values in zip(some, found, strict=True):
        rows = loss.rows(pair)
        if len(rows):
            plain = loss.measure(two[rows], two[rows].logsumexp(1), rows, torch.arange(len(rows)), pair)
            torch.testing.assert_close(values, plain)
            weights = torch.arange(2.0 * len(rows), dtype=torch.float64).view(-1, 2)
            total, wanted = total + (weights * values).sum(), wanted + (weights * plain).sum()
        else:
            assert values.shape == (0, 1)
    total.backward()
    wanted.backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-12)


def test_rows_that_nobody_asks_for_may_hold_anything() -> None:
    """A prompt's rows: neither read nor moved."""
    logits, pair = made_pair(V, seed=9, dtype=torch.float64)
    other = logits.clone()
    other[[0, 3, 4]] = float("nan")
    other.requires_grad_(True)
    some = Some((1, 2, 6, 5), 1.0)
    (found,) = measured(other, [(some, pair)], elements=3 * V)
    (wanted,) = measured(logits, [(some, pair)])
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert other.grad is not None
    assert torch.nonzero(other.grad.any(1))[:, 0].tolist() == [1, 2, 5, 6]


def test_each_losss_gradient_can_be_asked_for_alone() -> None:
    """As the balance does: backward runs several times over the same slices."""
    logits, pair = made_pair(V, seed=10, dtype=torch.float64)
    logits.requires_grad_(True)
    asked = [(loss, pair) for loss in losses()]
    sums = [loss.total(v, pair)[0] for (loss, _), v in zip(asked, measured(logits, asked, elements=4 * V), strict=True)]
    apart = [torch.autograd.grad(one, logits, retain_graph=True)[0] for one in sums]
    for (loss, _), grad in zip(asked, apart, strict=True):
        (alone,) = measured(logits, [(loss, pair)])
        torch.testing.assert_close(grad, torch.autograd.grad(loss.total(alone, pair)[0], logits)[0])
    torch.testing.assert_close(torch.autograd.grad(sum(sums), logits)[0], sum(apart))


@pytest.mark.parametrize("elements", [V, 3 * V, 10_000])
def test_values_and_gradients_are_those_of_one_piece(elements: int) -> None:
    logits, pair = made_pair(V, seed=3, dtype=torch.float64)
    one, two = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    found, wanted = weighted(one, pair, elements=elements), plain(two, pair)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-12)


def test_bfloat16_logits_are_read_in_float32() -> None:
    """A softmax in bfloat16 has three digits (pitfall 16); the gradient comes back in the logits' type."""
    logits, pair = made_pair(V, seed=4)
    half = logits.bfloat16().requires_grad_(True)
    wide = half.detach().float().requires_grad_(True)
    found, wanted = weighted(half, pair, elements=5 * V), plain(wide, pair)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    found.backward()
    wanted.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad, wide.grad.bfloat16(), rtol=2e-2, atol=1e-4)


def test_padding_of_the_output_head_counts_for_nothing() -> None:
    """Columns beyond the tokenizer (pitfall 12): no share of any softmax, no gradient."""
    logits, pair = made_pair(V, seed=5)
    padded = torch.cat([logits, torch.full((len(logits), 6), 50.0)], 1).requires_grad_(True)
    own = logits.clone().requires_grad_(True)
    found, wanted = weighted(padded, pair, vocabulary=V, elements=4 * V), weighted(own, pair, elements=4 * V)
    torch.testing.assert_close(found, wanted)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(padded.grad[:, :V], own.grad)
    assert not padded.grad[:, V:].any()


class Largest(TorchDispatchMode):
    """Elements of every tensor's storage that is made, but for those of the tensors that were there."""

    def __init__(self, there: torch.Tensor) -> None:
        super().__init__()
        self.elements = there.numel()
        self.there = there.untyped_storage().data_ptr()
        self.sizes: list[int] = []
        self.whole: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() != self.there:
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.sizes.append(size)
                if size >= self.elements:
                    self.whole.add(tensor.untyped_storage().data_ptr())
        return result


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_nothing_as_large_as_the_logits_is_made_but_their_gradient(dtype: torch.dtype) -> None:
    """Pitfall 11: no float32 copy, no softmax, no indices of a whole sort; slices of four rows of some sixty."""
    width = 5000
    logits, pair = made_pair(width, seed=6, chunks=30)
    logits = logits.to(dtype).requires_grad_(True)
    every, lonely = torch.arange(width), torch.arange(width) % 2 == 1
    some: list[Any] = [
        LanguageModel(), Uld(4), Alm(every % 3 == 0), Kl(7), ProjectionKl(every, every, torch.ones(width), width, 7),
        HybridKl(torch.where(lonely, -1, every), lonely, 7), Graph(4),
    ]  # fmt: skip
    asked = [(loss, pair) for loss in some]
    seen = Largest(logits)
    with seen:
        found = measured(logits, asked, elements=4 * width)
        total = sum(loss.total(values, pair)[0] for (loss, _), values in zip(asked, found, strict=True))
        assert not seen.whole
        assert max(seen.sizes) == 4 * width
        seen.sizes.clear()
        total.backward()
    assert len(logits) > 12 * 4
    assert len(seen.whole) == 1
    assert {size for size in seen.sizes if size > 4 * width} == {logits.numel()}


def test_losses_without_rows() -> None:
    """A batch that no teacher teaches: zero, with a gradient of zeros."""
    logits, pair = made_pair(V, seed=7, chunks=0)
    logits.requires_grad_(True)
    for loss in losses()[1:]:
        (found,) = measured(logits, [(loss, pair)])
        total, count = loss.total(found, pair)
        assert count == 0
        assert float(total.detach()) == 0
    found = measured(logits, [(loss, pair) for loss in losses()])
    sum(loss.total(values, pair)[0] for loss, values in zip(losses(), found, strict=True)).backward()
    assert logits.grad is not None
