"""InfiFPO's loss against its formulas, in float64 and in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from cogen.fusion.distill.student.preference.loss import fuse_references, preference_loss


def reference(
    m_w: float, m_l: float, teachers_w: list[float], teachers_l: list[float], i_w: float, i_l: float, beta: float
):
    """Equations 10, 11 and 13 of the paper, for one pair of answers, with the rule of the largest margin."""
    clip_w = [max(t, i_w) for t in teachers_w]
    clip_l = [min(t, i_l) for t in teachers_l]
    f_w = max(clip_w, key=lambda c: abs(c - i_w))
    f_l = max(clip_l, key=lambda c: abs(c - i_l))
    return -math.log(1 / (1 + math.exp(-(beta * (m_w - f_w) - beta * (m_l - f_l)))))


def test_against_the_formulas():
    generator = torch.Generator().manual_seed(1)
    n, s, beta = 40, 3, 2.5
    t_w, t_l = (-3 * torch.rand(n, s, generator=generator, dtype=torch.float64) for _ in range(2))
    i_w, i_l, m_w, m_l = (-3 * torch.rand(n, generator=generator, dtype=torch.float64) for _ in range(4))
    found = preference_loss(
        m_w, m_l, fuse_references(t_w, i_w, better=True), fuse_references(t_l, i_l, better=False), beta
    )
    wanted = [
        reference(m_w[k].item(), m_l[k].item(), t_w[k].tolist(), t_l[k].tolist(), i_w[k].item(), i_l[k].item(), beta)
        for k in range(n)
    ]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_dpo_is_its_case_of_one_teacher():
    """The pivot as it was, as the only teacher or as none: direct preference optimisation."""
    m_w, m_l, i_w, i_l = (torch.tensor([x], dtype=torch.float64) for x in (-1.0, -1.4, -1.2, -1.1))
    wanted = -math.log(1 / (1 + math.exp(-2.5 * ((-1.0 + 1.2) - (-1.4 + 1.1)))))
    for teachers_w, teachers_l in ((i_w[:, None], i_l[:, None]), (torch.zeros(1, 0), torch.zeros(1, 0))):
        f_w, f_l = fuse_references(teachers_w, i_w, better=True), fuse_references(teachers_l, i_l, better=False)
        assert preference_loss(m_w, m_l, f_w, f_l, 2.5).item() == pytest.approx(wanted, rel=1e-12)


def test_an_untrained_pivot_without_teachers_has_log_two():
    m_w, m_l = torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -0.5])
    found = preference_loss(
        m_w,
        m_l,
        fuse_references(torch.zeros(2, 0), m_w, better=True),
        fuse_references(torch.zeros(2, 0), m_l, better=False),
        2.5,
    )
    torch.testing.assert_close(found, torch.full((2,), math.log(2)))


def test_a_teacher_can_only_raise_the_better_and_lower_the_worse_answer():
    initial = torch.tensor([-1.0, -1.0])
    teachers = torch.tensor([[-2.0, -1.5], [-0.5, -0.8]])
    assert fuse_references(teachers, initial, better=True).tolist() == [-1.0, -0.5]
    assert fuse_references(teachers, initial, better=False).tolist() == [-2.0, -1.0]


def test_the_mean_rule_averages_what_was_clipped():
    found = fuse_references(torch.tensor([[-0.5, -2.0]]), torch.tensor([-1.0]), better=True, rule="mean")
    assert found.item() == pytest.approx(-0.75)


def test_teachers_have_no_order():
    generator = torch.Generator().manual_seed(2)
    teachers, initial = -torch.rand(20, 4, generator=generator), -torch.rand(20, generator=generator)
    for rule in ("margin", "mean"):
        for better in (True, False):
            one = fuse_references(teachers, initial, better=better, rule=rule)
            two = fuse_references(teachers.flip(1), initial, better=better, rule=rule)
            torch.testing.assert_close(one, two)


def test_a_step_down_the_gradient_parts_the_answers():
    m = torch.tensor([-1.0, -1.2], requires_grad=True)
    loss = preference_loss(m[:1], m[1:], torch.tensor([-0.9]), torch.tensor([-1.3]), 2.5).sum()
    loss.backward()
    assert m.grad is not None
    assert m.grad[0] < 0 < m.grad[1]
    assert m.grad[0] == pytest.approx(-m.grad[1].item())
