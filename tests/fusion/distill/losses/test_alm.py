"""Likelihoods of chunks: the formula, its ends, and what is left out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from support.pairs import made_pair

from cogen.fusion.distill.losses.alm import Alm, alm, log1m_exp
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.rows import read_logits

V = 30
WORDS = torch.arange(V) % 3 == 0


def value(loss: Alm, logits: torch.Tensor, pair: DistillBatch) -> tuple[torch.Tensor, int]:
    (found,) = read_logits(logits, [(loss, pair)], elements=3 * V)
    return loss.total(found, pair)


@pytest.mark.parametrize("tau", [1.0, 5.0, 20.0])
def test_tau_is_a_root_of_the_likelihood_and_no_factor(tau: float) -> None:
    """Pitfall 10: the loss shrinks with τ; nothing multiplies that back, the balance of gradients does."""
    s, t = -3.0, -1.0
    p, q = math.exp(t) ** (1 / tau), math.exp(s) ** (1 / tau)
    wanted = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    found = alm(torch.tensor([s], dtype=torch.float64), torch.tensor([t], dtype=torch.float64), tau)
    assert found.item() == pytest.approx(wanted, rel=1e-4)  # as near as the epsilon allows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1m_exp_at_both_ends(dtype: torch.dtype) -> None:
    """Near zero 1 - exp(x) cancels, far away it is one: both keep all digits, and so do the slopes."""
    x = torch.tensor([-1e-30, -1e-7, -1e-3, -0.6931471, -0.6931473, -5.0, -30.0, -90.0], dtype=dtype)
    x.requires_grad_(True)
    found = log1m_exp(x)
    # In float64, by whichever of the two is exact there.
    wanted = [math.log(-math.expm1(v)) if v > -0.69 else math.log1p(-math.exp(v)) for v in x.tolist()]
    slopes = [-math.exp(v) / -math.expm1(v) for v in x.tolist()]
    rtol = 1e-12 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(found.double(), torch.tensor(wanted, dtype=torch.float64), rtol=rtol, atol=0)
    found.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), torch.tensor(slopes, dtype=torch.float64), rtol=rtol, atol=0)


def test_float32_is_as_good_as_float64_where_a_model_is_sure() -> None:
    """By subtraction from one, 1 - p of 1e-6 has two digits in float32, and so had the loss."""
    s, t = torch.tensor([-1e-5, -1e-4, -1e-3, -1.0, -300.0, -5000.0]), torch.zeros(6)
    torch.testing.assert_close(alm(s, t).double(), alm(s.double(), t.double()), rtol=1e-4, atol=0)
    unsure = torch.full((6,), -5000.0)
    torch.testing.assert_close(alm(s, unsure).double(), alm(s.double(), unsure.double()), rtol=1e-4, atol=1e-12)


def test_likelihoods_that_rounding_lifts_above_one_count_as_one() -> None:
    """A log-sum-exp of 100 is known to 8e-6, more than the epsilon that keeps 1 - p above zero."""
    s = torch.tensor([1e-4, -1.0], requires_grad=True)
    found = alm(s, torch.tensor([-1.0, 1e-4]))
    torch.testing.assert_close(found.detach(), alm(torch.tensor([0.0, -1.0]), torch.tensor([-1.0, 0.0])))
    found.sum().backward()
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()


def test_it_is_never_negative() -> None:
    grid = -torch.logspace(-6, 3, 40, dtype=torch.float64)
    s, t = torch.meshgrid(grid, grid, indexing="ij")
    found = alm(s.flatten(), t.flatten()).view(40, 40)
    assert (found > -1e-12).all()
    torch.testing.assert_close(found.diagonal(), torch.zeros(40, dtype=torch.float64), rtol=0, atol=1e-12)


def test_gamma_leaves_out_what_the_teacher_does_not_end() -> None:
    """Below 0.1 a chunk is left out; the others are as they are alone."""
    logits, pair = made_pair(V, seed=1, dtype=torch.float64)
    ends = torch.tensor([0.0999, 0.1001] * 6, dtype=torch.float64).log()
    pair = replace(pair, boundary=ends)
    found, count = value(Alm(WORDS), logits, pair)
    assert count == 6
    kept = torch.arange(12) % 2 == 1
    logp = logits.log_softmax(1)
    own = torch.zeros(12, dtype=torch.float64)
    for row, chunk in enumerate(pair.chunk.tolist()):
        if chunk >= 0:
            own[chunk] += logp[row, pair.targets[row]]
    own += logp[pair.after][:, WORDS].logsumexp(1)
    torch.testing.assert_close(found, alm(own[kept], (pair.logprob + ends)[kept]).sum())


def test_chunks_that_are_left_out_pull_nowhere() -> None:
    logits, pair = made_pair(V, seed=2)
    ends = torch.full((12,), -0.1)
    ends[4] = -9.0
    logits.requires_grad_(True)
    value(Alm(WORDS), logits, replace(pair, boundary=ends))[0].backward()
    assert logits.grad is not None
    own = torch.nonzero(pair.chunk == 4)[:, 0]
    # Its first row is also the one behind chunk 3, unless a text begins there.
    alone = own if pair.after[3] != own[0] else own[1:]
    assert not logits.grad[alone].any()
    assert logits.grad[pair.chunk == 5].any()


def test_a_chunks_likelihood_is_that_of_its_own_tokens() -> None:
    """Pitfall 2: off by one row, the first token is never learned. Rows predict targets; the start is their first."""
    logits, pair = made_pair(V, seed=3, dtype=torch.float64)
    for chunk in range(pair.chunks):
        right = logits.clone()
        own = pair.chunk == chunk
        assert int(torch.nonzero(own)[0]) == int(pair.start[chunk])
        right[own, pair.targets[own]] = 1e3  # sure of the chunk's tokens
        (found,) = read_logits(right, [(Alm(None), pair)])
        inside = pair.chunk[pair.chunk >= 0]
        sums = torch.zeros(pair.chunks, dtype=torch.float64).index_add(0, inside, found.logprobs[:, 0])
        assert sums[chunk].item() == pytest.approx(0, abs=1e-12)
        others = torch.arange(pair.chunks) != chunk
        assert (sums[others] < -1e-3).all()


def test_debiasing_reads_the_row_behind_the_last_token() -> None:
    logits, pair = made_pair(V, seed=4, dtype=torch.float64)
    before, _ = value(Alm(WORDS, gamma=0.0), logits, pair)
    last = int(pair.after[-1])
    assert pair.chunk[last] == -1  # nobody's token: only debiasing reads it
    changed = logits.clone()
    changed[last, WORDS] += 3.0
    assert value(Alm(WORDS, gamma=0.0), changed, pair)[0].item() != pytest.approx(before.item(), rel=1e-6)
    torch.testing.assert_close(value(Alm(None), changed, pair)[0], value(Alm(None), logits, pair)[0])


def test_a_step_makes_a_chunk_likelier_where_the_teacher_finds_it_so() -> None:
    logits, pair = made_pair(V, seed=5)
    logits.requires_grad_(True)
    value(Alm(None), logits, replace(pair, logprob=torch.zeros(12)))[0].backward()
    assert logits.grad is not None
    own = pair.chunk >= 0
    assert (logits.grad[own].gather(1, pair.targets[own, None]) < 0).all()
