"""The engine that reads logits a slice at a time."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from support.pairs import made_pair
from torch.utils._python_dispatch import TorchDispatchMode

from cogen.fusion.distill.losses.alm import Alm, WordStarts
from cogen.fusion.distill.losses.gradient_norms import GradientNorms
from cogen.fusion.distill.losses.graph import Graph
from cogen.fusion.distill.losses.kl import Kl
from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.projection import HybridKl, ProjectionKl
from cogen.fusion.distill.losses.projection_map import Map
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.losses.rows import read_logits
from cogen.fusion.distill.losses.uld import Uld
from cogen.fusion.distill.teachers.needs import TeacherStatistics

V = 50


def losses() -> list[Any]:
    words = torch.arange(V) % 3 == 0
    return [LanguageModel(), Uld(4), Alm(words), Kl(7)]


def weighted(logits: torch.Tensor, pair: DistillBatch, **options: Any) -> torch.Tensor:
    asked = [(loss, pair) for loss in losses()]
    found = read_logits(logits, asked, **options)
    return sum(
        weight * loss.total(values, pair)[0]
        for weight, (loss, _), values in zip((1.0, 0.3, 2.0, -0.7), asked, found, strict=True)
    )


def dense(logits: torch.Tensor, loss: Any, pair: DistillBatch) -> SeenTokens:
    """What a loss reads, by autograd over all of its rows at once."""
    x = logits[loss.rows(pair)]
    read = loss.reads(pair, x.shape[1])
    lse = x.logsumexp(1)
    columns = x.gather(1, read.columns) if read.columns is not None else x[:, :0]
    among = x if read.among is None else x.masked_fill(~read.among, float("-inf"))
    sums = x[:, :0]
    if read.sums is not None:
        sums = read.sums.of(x.softmax(1), slice(0, len(x))).log().clamp(min=read.sums.least)
    return SeenTokens(lse, columns, among.topk(read.top, dim=1).values, sums)


def plain(logits: torch.Tensor, pair: DistillBatch) -> torch.Tensor:
    """Each loss by itself, on all of its rows at once."""
    total = torch.zeros((), dtype=logits.dtype)
    for weight, loss in zip((1.0, 0.3, 2.0, -0.7), losses(), strict=True):
        total = total + weight * loss.total(dense(logits, loss, pair), pair)[0]
    return total


@dataclass(frozen=True)
class Some:
    """A loss that asks for rows of its own and reads something of every kind."""

    asked: tuple[int, ...]
    factor: float
    name: str = "some"
    needs: TeacherStatistics = field(default_factory=TeacherStatistics)

    def rows(self, pair: DistillBatch) -> torch.Tensor:
        return torch.tensor(self.asked, dtype=torch.int64)

    def reads(self, pair: DistillBatch, width: int) -> Reads:
        columns = (torch.tensor(self.asked)[:, None] + torch.tensor([3, 1, 3])) % width  # one of them twice
        return Reads(columns, 3, torch.arange(width) % 4 != 1, WordStarts((torch.arange(width) % 3 == 0).double()))

    def total(self, seen: SeenTokens, pair: DistillBatch) -> tuple[torch.Tensor, int]:
        weights = torch.arange(1.0, len(seen.lse) + 1)
        each = self.factor * seen.lse.square() + seen.columns.sin().sum(1) + seen.sums[:, 0].exp() * seen.logprobs[:, 1]
        return (weights * (each + (seen.top * torch.tensor([1.0, -2.0, 0.5])).sum(1))).sum(), len(weights)


@pytest.mark.parametrize("elements", [1, V, 2 * V, 5 * V, 10_000])
def test_other_rows_for_each_loss(elements: int) -> None:
    """Overlapping, apart, all, one, none: each sees its own, in their order."""
    logits, pair = made_pair(V, seed=8, dtype=torch.float64)
    n = len(logits)
    sets = [(1, 2, 5, 9), tuple(range(n)), (), (0, n - 1), (7,), tuple(range(3, 12))]
    some = [Some(rows, 0.5 + number) for number, rows in enumerate(sets)]
    one, two = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    found = read_logits(one, [(loss, pair) for loss in some], elements=elements)
    total, wanted = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for loss, seen in zip(some, found, strict=True):
        if not loss.asked:
            assert seen.lse.shape == (0,)
            assert seen.columns.shape == seen.top.shape == seen.sums.shape == (0, 0)
            continue
        by_hand = dense(two, loss, pair)
        for name, values in vars(by_hand).items():
            torch.testing.assert_close(getattr(seen, name), values)
        total, wanted = total + loss.total(seen, pair)[0], wanted + loss.total(by_hand, pair)[0]
    total.backward()
    wanted.backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-12)


def everything(logits: torch.Tensor, pair: DistillBatch) -> list[Any]:
    """Every loss, with vocabularies of which odd tokens match."""
    width = logits.shape[1]
    every, lonely = torch.arange(width), torch.arange(width) % 2 == 1
    map = Map(every, every // 2, torch.linspace(0.1, 1, width))
    return [
        LanguageModel(),
        Uld(4),
        Alm(every % 3 == 0),
        Kl(7),
        ProjectionKl(map, 7),
        HybridKl(torch.where(lonely, -1, every), lonely, 7),
        Graph(4),
    ]


def test_rows_that_nobody_asks_for_may_hold_anything() -> None:
    """A prompt's rows: neither read nor moved."""
    logits, pair = made_pair(V, seed=9, dtype=torch.float64)
    other = logits.clone()
    other[[0, 3, 4]] = float("nan")
    other.requires_grad_(True)
    some = Some((1, 2, 5, 6), 1.0)
    (found,) = read_logits(other, [(some, pair)], elements=3 * V)
    (wanted,) = read_logits(logits, [(some, pair)])
    torch.testing.assert_close(vars(found), vars(wanted))
    some.total(found, pair)[0].backward()
    assert other.grad is not None
    assert torch.nonzero(other.grad.any(1))[:, 0].tolist() == [1, 2, 5, 6]


def test_each_losss_gradient_can_be_asked_for_alone() -> None:
    """Backward may run several times over the same slices."""
    logits, pair = made_pair(V, seed=10, dtype=torch.float64)
    logits.requires_grad_(True)
    asked = [(loss, pair) for loss in everything(logits, pair)]
    sums = [
        loss.total(v, pair)[0] for (loss, _), v in zip(asked, read_logits(logits, asked, elements=4 * V), strict=True)
    ]
    apart = [torch.autograd.grad(one, logits, retain_graph=True)[0] for one in sums]
    for (loss, _), grad in zip(asked, apart, strict=True):
        (alone,) = read_logits(logits, [(loss, pair)])
        torch.testing.assert_close(grad, torch.autograd.grad(loss.total(alone, pair)[0], logits)[0])
    torch.testing.assert_close(torch.autograd.grad(sum(sums), logits)[0], sum(apart))


def test_gradients_of_every_loss_are_those_of_autograd() -> None:
    """By hand in slices, against autograd over whole rows in float64."""
    logits, pair = made_pair(V, seed=21, dtype=torch.float64)
    one, two = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    for loss in everything(logits, pair):
        (seen,) = read_logits(one, [(loss, pair)], elements=4 * V)
        (own,) = torch.autograd.grad(loss.total(seen, pair)[0], one)
        total = loss.total(dense(two, loss, pair), pair)[0]
        torch.testing.assert_close(own, torch.autograd.grad(total, two)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_that_float32_has_no_exponentials_for(dtype: torch.dtype) -> None:
    """A word's beginning with a probability of e^-80 to e^-3000: value and slope as float64 has them."""
    logits, pair = made_pair(V, seed=22)
    words = torch.arange(V) % 3 == 0
    logits[:, ~words] += torch.tensor([0.0, 40.0, 70.0, 90.0, 200.0, 3000.0]).repeat(len(logits))[: len(logits), None]
    narrow = logits.to(dtype).requires_grad_(True)
    wide = narrow.detach().double().requires_grad_(True)
    loss = Alm(words)
    (seen,) = read_logits(narrow, [(loss, pair)], elements=7 * V)
    x = wide[loss.rows(pair)]
    wanted = x.masked_fill(~words, -math.inf).logsumexp(1) - x.logsumexp(1)
    assert wanted.min() < -2900
    torch.testing.assert_close(seen.sums[:, 0].double(), wanted, rtol=1e-6, atol=2e-6)
    weights = torch.linspace(1.0, 2.0, len(x))
    (weights * seen.sums[:, 0]).sum().backward()
    (weights * wanted).sum().backward()
    digits = {"rtol": 5e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-6}  # 3000 has four
    torch.testing.assert_close(narrow.grad.double(), wide.grad, **digits)


def test_a_row_without_any_word_has_none() -> None:
    logits, pair = made_pair(V, seed=23)
    words = torch.arange(V) % 3 == 0
    logits[2, words] = -math.inf
    (seen,) = read_logits(logits, [(Alm(words), pair)])
    at = Alm(words).rows(pair).tolist().index(2)
    assert seen.sums[at, 0] == -math.inf
    assert torch.isfinite(seen.sums[torch.arange(len(seen.sums)) != at]).all()


def test_autocast_does_not_reach_the_sums() -> None:
    """transformers' Trainer asks for a loss inside of it: a product in bfloat16 has three digits."""
    logits, pair = made_pair(V, seed=24)
    logits.requires_grad_(True)
    for loss in everything(logits, pair):
        found = []
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                (seen,) = read_logits(logits, [(loss, pair)])
                found.append((seen.sums, *torch.autograd.grad(loss.total(seen, pair)[0], logits)))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1]), loss.name


@pytest.mark.parametrize("elements", [3 * V, 10_000])
def test_a_look_is_told_the_length_of_each_gradient(elements: int) -> None:
    """Whatever its mean is multiplied with in the one backward pass, which gives what it gives without."""
    logits, pair = made_pair(V, seed=25, dtype=torch.float64)
    logits.requires_grad_(True)
    asked = [(loss, pair) for loss in everything(logits, pair)]
    factors = [1.0, -0.5, 0.0, 3.0, 1e-3, 2.0, 7.0]

    def means(norms: GradientNorms | None) -> list[torch.Tensor]:
        found = read_logits(logits, asked, elements=elements, norms=norms)
        return [loss.total(seen, pair)[0] / 3 for (loss, _), seen in zip(asked, found, strict=True)]

    apart = [torch.autograd.grad(mean, logits, retain_graph=True)[0].norm().item() for mean in means(None)]
    norms = GradientNorms(len(asked))
    ours = means(norms)
    (wanted,) = torch.autograd.grad(sum(map(operator.mul, factors, ours)), logits, retain_graph=True)
    norms.through(ours)
    (found,) = torch.autograd.grad(sum(map(operator.mul, factors, ours)), logits)
    torch.testing.assert_close(found, wanted)
    lengths = norms.lengths().tolist()
    assert math.isnan(lengths.pop(2))
    apart.pop(2)
    assert lengths == pytest.approx(apart, rel=1e-5)


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
@pytest.mark.parametrize("looking", [False, True])
def test_nothing_as_large_as_the_logits_is_made_but_their_gradient(dtype: torch.dtype, looking: bool) -> None:
    """Pitfall 11: no float32 copy, no softmax, no indices of a whole sort; slices of four rows of some sixty."""
    width = 5000
    logits, pair = made_pair(width, seed=6, chunks=30)
    logits = logits.to(dtype).requires_grad_(True)
    asked = [(loss, pair) for loss in everything(logits, pair)]
    seen = Largest(logits)
    with seen:
        norms = GradientNorms(len(asked))
        found = read_logits(logits, asked, elements=4 * width, norms=norms)
        totals = [loss.total(values, pair)[0] for (loss, _), values in zip(asked, found, strict=True)]
        if looking:
            norms.through(totals)
        total = sum(totals)
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
        (found,) = read_logits(logits, [(loss, pair)])
        total, count = loss.total(found, pair)
        assert count == 0
        assert float(total.detach()) == 0
    found = read_logits(logits, [(loss, pair) for loss in losses()])
    sum(loss.total(values, pair)[0] for loss, values in zip(losses(), found, strict=True)).backward()
    assert logits.grad is not None
