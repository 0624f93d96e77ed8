"""Losses weigh by the length of their gradients."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from cogen.fusion.distill.losses.balance import EVERY, Balance
from cogen.fusion.distill.losses.gradient_norms import GradientNorms
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.losses.rows import read_logits
from cogen.fusion.distill.teachers.needs import TeacherStatistics

ROWS, V = 5, 7


@dataclass(frozen=True)
class Entry:
    """``factor`` times the first logit of some rows: a gradient of length ``factor`` · √rows."""

    factor: float
    count: int = ROWS
    name: str = "entry"
    needs: TeacherStatistics = field(default_factory=TeacherStatistics)

    def rows(self, pair: DistillBatch) -> torch.Tensor:
        return torch.arange(self.count)

    def reads(self, pair: DistillBatch, width: int) -> Reads:
        return Reads(torch.zeros(self.count, 1, dtype=torch.int64))

    def total(self, seen: SeenTokens, pair: DistillBatch) -> tuple[torch.Tensor, int]:
        return self.factor * seen.columns.sum(), self.count


class Steps:
    """A run of nothing but losses: ``balance`` goes through as many steps as it is asked for."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance
        self.backward = 0

    def __call__(self, *losses: Entry, outer: float = 1.0, training: bool = True) -> list[float]:
        """The scales of one step, before whose end its lengths are taken in."""
        logits = torch.randn(ROWS, V, requires_grad=True)
        logits.register_hook(self._count)
        pair, norms = DistillBatch.alone(torch.zeros(ROWS, dtype=torch.int64)), GradientNorms(len(losses))
        found = read_logits(logits, [(loss, pair) for loss in losses], norms=norms)
        means = [loss.total(seen, pair)[0] for loss, seen in zip(losses, found, strict=True)]
        scales = self.balance.scales(logits, means, norms, training=training)
        weighted = means[0] + sum(scale * mean for scale, mean in zip(scales, means[1:], strict=True))
        if training:
            (outer * weighted).backward()
            assert logits.grad is not None
            summed = torch.zeros(ROWS, V)
            for loss, scale in zip(losses, (1.0, *scales), strict=True):
                summed[: loss.count, 0] += scale * loss.factor
            torch.testing.assert_close(logits.grad, outer * summed, equal_nan=True)  # a look changes nothing
            self.balance.settle()
        return scales

    def _count(self, gradient: torch.Tensor) -> None:
        self.backward += 1


def run(count: int) -> Steps:
    return Steps(Balance(count))


def entries(*factors: float) -> Sequence[Any]:
    return [Entry(factor) for factor in factors]


def test_a_scaled_loss_pulls_as_hard_as_the_language_models() -> None:
    """In the very first step too."""
    assert run(2)(*entries(3.0, 0.01, 40.0)) == pytest.approx([300.0, 3.0 / 40.0], rel=1e-4)


def test_the_unit_of_a_loss_does_not_matter() -> None:
    """What a blind factor gets wrong."""
    a, b = run(1)(*entries(1.0, 2.0)), run(1)(*entries(1.0, 2000.0))
    assert a[0] * 2.0 == pytest.approx(b[0] * 2000.0, rel=1e-4)


def test_lengths_are_running_means_of_the_steps_before() -> None:
    step = run(1)
    step(*entries(1.0, 1.0))
    assert step(*entries(1.0, 3.0)) == pytest.approx([1.0], rel=1e-4)
    assert step(*entries(1.0, 3.0)) == pytest.approx([1 / 2], rel=1e-4)
    assert step(*entries(1.0, 3.0)) == pytest.approx([1 / 2.5], rel=1e-4)


def test_what_a_step_is_multiplied_with_is_no_part_of_a_length() -> None:
    """Processes, accumulated batches, a gradient scaler."""
    one, two = run(1), run(1)
    for number in range(4):
        found = one(*entries(1.0, 1.0 + number)), two(*entries(1.0, 1.0 + number), outer=1024.0)
        assert found[0] == pytest.approx(found[1])


def test_a_batch_without_chunks_says_nothing() -> None:
    step = run(1)
    assert step(Entry(1.0), Entry(4.0, count=0)) == [1.0]
    (before,) = step(*entries(1.0, 4.0))
    assert before == pytest.approx(1 / 4)
    known = step.balance.others[0]
    step(Entry(3.0), Entry(4.0, count=0))
    assert step.balance.others[0] == known
    (found,) = step(Entry(3.0), Entry(4.0, count=0))
    assert found == pytest.approx(step.balance.state()["language"] / known, rel=0.3)
    assert found > before  # the language model's own length has moved on


def test_a_loss_is_measured_before_its_first_step_whenever_that_is() -> None:
    """Its teacher taught no text until then; no step goes by at a scale of one."""
    step = run(2)
    for _ in range(6):
        assert step(Entry(1.0), Entry(5.0), Entry(8.0, count=0)) == pytest.approx([1 / 5, 1.0])
    assert step(*entries(1.0, 5.0, 8.0)) == pytest.approx([1 / 5, 1 / 8])


def test_lengths_are_those_of_the_gradients_at_the_logits() -> None:
    """By hand: 3 entries of 2 and one of 4."""
    (scale,) = run(1)(Entry(2.0, count=3), Entry(4.0, count=1))
    assert scale == pytest.approx(math.sqrt(3 * 4.0) / 4.0)


def test_a_loss_that_is_no_function_of_the_logits_keeps_its_scale() -> None:
    logits, other = torch.randn(3, 2, requires_grad=True), torch.randn(2, requires_grad=True)
    means = [logits.sum(), torch.tensor(3.0), other.sum()]
    assert Balance(2).scales(logits, means, GradientNorms(3)) == [1.0, 1.0]


def test_before_the_language_models_loss_is_known_nothing_is_scaled_away() -> None:
    assert run(1)(Entry(1.0, count=0), Entry(2.0)) == [1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_overflowed_is_forgotten(bad: float) -> None:
    """A running mean would keep it for good."""
    step = run(1)
    before = step(*entries(1.0, 4.0))
    step(*entries(bad, bad))
    step(*entries(bad, bad))
    assert step.balance.language == pytest.approx(math.sqrt(ROWS))
    assert step(*entries(1.0, 4.0)) == pytest.approx(before)


def test_looking_is_rare_and_only_while_training() -> None:
    """The first four steps, then every eighth; an evaluation neither looks nor counts."""
    step = run(1)
    looked = []
    for number in range(20):
        known = step.balance.others[0]
        step(*entries(1.0, 1.0 + number))
        if step.balance.others[0] != known:
            looked.append(number)
        state = json.dumps(step.balance.state())
        step(*entries(7.0, 9.0), training=False)
        step.balance.settle()
        assert json.dumps(step.balance.state()) == state
    assert looked == [0, 1, 2, 3, 8, 16]


def test_only_a_first_step_goes_backward_twice() -> None:
    step = run(2)
    for number in range(1, 10):
        step(*entries(1.0, 2.0, 3.0))
        assert step.backward == number + 1


def test_a_resumed_run_goes_on_with_the_same_scales() -> None:
    one, two = run(1), run(1)
    for number in range(3 * EVERY):
        if number == EVERY + 3:
            two.balance.load(json.loads(json.dumps(one.balance.state())))
        found = one(*entries(1.0, 1.0 + number))
        if number >= EVERY + 3:
            assert two(*entries(1.0, 1.0 + number)) == found


def test_measuring_leaves_no_gradient_behind() -> None:
    logits = torch.randn(ROWS, V, requires_grad=True)
    pair, norms = DistillBatch.alone(torch.zeros(ROWS, dtype=torch.int64)), GradientNorms(2)
    losses = entries(1.0, 2.0)
    found = read_logits(logits, [(loss, pair) for loss in losses], norms=norms)
    parts = [loss.total(seen, pair)[0] for loss, seen in zip(losses, found, strict=True)]
    Balance(1).scales(logits, parts, norms)
    assert logits.grad is None
    sum(parts).backward()
    assert logits.grad is not None


def test_processes_add_up_what_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process found twice the language model's length and nothing of the other loss."""
    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    met = []

    def all_reduce(lengths: torch.Tensor) -> None:
        met.append(lengths.tolist())
        lengths += torch.tensor([2.0, 0.0]) * lengths

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    step = run(1)
    assert step(*entries(1.0, 4.0)) == pytest.approx([3 / 4])
    assert step(*entries(1.0, 4.0)) == pytest.approx([3 / 4])
    assert len(met) == 3  # before the first step, and after each
    root = math.sqrt(ROWS)
    assert all(one == pytest.approx([root, 4 * root]) for one in met)
