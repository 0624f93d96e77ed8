"""InfiFPO (arXiv:2505.13878): direct preference optimisation whose reference is a fusion of teachers.

    L = -log σ(β·[m(y⁺) - f(y⁺)] - β·[m(y⁻) - f(y⁻)])

m is the student's mean log-probability of an answer's tokens, f that of the fused reference, every model in its own
tokens: lengths are normalised, so models with different tokenizers compare (their eq. 10). A teacher is clipped at the
initial student, so that it can only raise a better answer and lower a worse one (eq. 11); the reference is the teacher
that departs from the student the most (their best rule), or the teachers' mean. With the student as it was for the only
teacher this is DPO (arXiv:2305.18290), length-normalised. Their trainer was never published.
"""

from __future__ import annotations

from typing import Literal

import torch

Rule = Literal["margin", "mean"]


def fuse_references(
    teachers: torch.Tensor, initial: torch.Tensor, *, better: bool, rule: Rule = "margin"
) -> torch.Tensor:
    """Mean log-probability that the fused reference gives each answer, shape (n,).

    :param teachers: of each teacher, shape (n, S); S = 0: the student as it was is the reference.
    :param initial: of the student before training, shape (n,).
    :param better: are these the better answers?
    """
    if not teachers.shape[1]:
        return initial
    bound = initial[:, None]
    clipped = torch.maximum(teachers, bound) if better else torch.minimum(teachers, bound)
    if rule == "mean":
        return clipped.mean(1)
    # The largest margin counts; a clipped teacher has none.
    return clipped.gather(1, (clipped - bound).abs().argmax(1, keepdim=True))[:, 0]


def preference_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, fused_chosen: torch.Tensor, fused_rejected: torch.Tensor, beta: float
) -> torch.Tensor:
    """The loss of each pair of answers, shape (n,); all arguments but ``beta`` are mean log-probabilities."""
    margin = (chosen - fused_chosen) - (rejected - fused_rejected)
    return -torch.nn.functional.logsigmoid(beta * margin)
