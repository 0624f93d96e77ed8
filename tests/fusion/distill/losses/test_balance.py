"""Losses weigh by the length of their gradients."""

from __future__ import annotations

import json
import math

import pytest
import torch

from cogen.fusion.distill.losses.balance import EVERY, Balance


def means(logits: torch.Tensor, factors: list[float]) -> list[torch.Tensor]:
    return [factor * (logits**2).sum() for factor in factors]


def test_a_scaled_loss_pulls_as_hard_as_the_language_models() -> None:
    logits = torch.randn(5, 7, requires_grad=True)
    scales = Balance(2).scales(logits, means(logits, [3.0, 0.01, 40.0]))
    assert scales == pytest.approx([300.0, 3.0 / 40.0], rel=1e-4)


def test_the_unit_of_a_loss_does_not_matter() -> None:
    """What a blind factor gets wrong."""
    logits = torch.randn(5, 7, requires_grad=True)
    one, two = Balance(1), Balance(1)
    a, b = one.scales(logits, means(logits, [1.0, 2.0])), two.scales(logits, means(logits, [1.0, 2000.0]))
    assert a[0] * 2.0 == pytest.approx(b[0] * 2000.0, rel=1e-4)


def test_lengths_are_running_means() -> None:
    logits = torch.randn(5, 7, requires_grad=True)
    balance = Balance(1)
    balance.scales(logits, means(logits, [1.0, 1.0]))
    assert balance.scales(logits, means(logits, [1.0, 3.0]))[0] == pytest.approx(1 / 2, rel=1e-4)


def test_a_batch_without_chunks_says_nothing() -> None:
    logits = torch.randn(5, 7, requires_grad=True)
    balance = Balance(1)
    assert balance.scales(logits, [logits.sum(), torch.zeros(())]) == [1.0]
    (before,) = balance.scales(logits, means(logits, [1.0, 4.0]))
    known = balance.others[0]
    found = balance.scales(logits, [means(logits, [1.0])[0], 0 * logits.sum()])[0]
    assert balance.others[0] == known
    assert found == pytest.approx(balance.language / known)
    assert found > before  # the language model's own length was that of a sum before, and has moved on


def test_lengths_are_those_of_the_gradients_at_the_logits() -> None:
    """By hand: 3 entries of 2 and of 4; the second loss sees one row of them."""
    logits = torch.zeros(3, 1, requires_grad=True)
    language = 2.0 * logits.sum()
    (scale,) = Balance(1).scales(logits, [language, 4.0 * logits[0].sum()])
    assert scale == pytest.approx(math.sqrt(3 * 4.0) / 4.0)


def test_a_loss_that_is_no_function_of_the_logits_keeps_its_scale() -> None:
    logits, other = torch.randn(3, 2, requires_grad=True), torch.randn(2, requires_grad=True)
    balance = Balance(2)
    assert balance.scales(logits, [logits.sum(), torch.tensor(3.0), other.sum()]) == [1.0, 1.0]
    assert balance.scales(logits, [logits.sum(), logits.sum(), other.sum()]) == pytest.approx([1.0, 1.0])


def test_before_the_language_models_loss_is_known_nothing_is_scaled_away() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    assert Balance(1).scales(logits, [torch.zeros(()), logits.sum()]) == [1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_overflowed_is_forgotten(bad: float) -> None:
    """A running mean would keep it for good."""
    logits = torch.randn(3, 2, requires_grad=True)
    balance = Balance(1)
    before = balance.scales(logits, means(logits, [1.0, 4.0]))
    assert balance.scales(logits, [bad * logits.sum(), bad * logits.sum()]) == before


def test_looking_is_rare_and_only_while_training() -> None:
    """The first four steps, then every eighth; an evaluation neither looks nor counts."""
    logits = torch.randn(3, 2, requires_grad=True)
    balance = Balance(1)
    looked = []
    for step in range(20):
        known = balance.others[0]
        balance.scales(logits, means(logits, [1.0, 1.0 + step]))
        if balance.others[0] != known:
            looked.append(step)
        state = json.dumps(balance.state())
        balance.scales(logits, means(logits, [7.0, 9.0]), training=False)
        assert json.dumps(balance.state()) == state
    assert looked == [0, 1, 2, 3, 8, 16]


def test_a_resumed_run_goes_on_with_the_same_scales() -> None:
    logits = torch.randn(5, 7, requires_grad=True)
    one, two = Balance(1), Balance(1)
    for step in range(3 * EVERY):
        if step == EVERY + 3:
            two.load(json.loads(json.dumps(one.state())))
        found = one.scales(logits, means(logits, [1.0, 1.0 + step]))
        if step >= EVERY + 3:
            assert two.scales(logits, means(logits, [1.0, 1.0 + step])) == found


def test_measuring_leaves_no_gradient_behind() -> None:
    logits = torch.randn(5, 7, requires_grad=True)
    parts = means(logits, [1.0, 2.0])
    Balance(1).scales(logits, parts)
    assert logits.grad is None
    sum(parts).backward()
    assert logits.grad is not None
