"""Losses weigh by the length of their gradients."""

from __future__ import annotations

import json

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
    assert balance.scales(logits, [means(logits, [1.0])[0], 0 * logits.sum()])[0] == pytest.approx(before, rel=0.9)
    assert balance.others[0] > 0


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
