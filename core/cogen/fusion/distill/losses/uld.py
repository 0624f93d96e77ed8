"""Sorted top-K logits, standardised: the loss of InfiFusion (arXiv:2501.02795).

    z = the K largest logits of a row, descending, less their mean, divided by their standard deviation
    loss = Σᵢ |softmax(z_student)ᵢ - softmax(z_teacher)ᵢ|

It is ULD (arXiv:2402.12030), the Wasserstein distance of two sorted distributions, on K = 10 entries: no vocabulary is
mapped, ranks are compared. Published are K = 10, the standardising and the sorted difference; its code is not, so it
is open whether a softmax follows (here: yes, ULD compares probabilities) and which deviation is meant (here: that of
the population). A standardised row cannot be surer than 0.757, so how sure a teacher is does not come across.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cogen.fusion.distill.losses.chunk_loss import ChunkLoss
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.teachers.needs import TeacherStatistics


def standardise_rows(top: torch.Tensor) -> torch.Tensor:
    """Rows with mean zero and deviation one, shape (C, K); equal entries become zeros."""
    centred = top - top.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).clamp(min=1e-12).sqrt()


def uld(student: torch.Tensor, teacher: torch.Tensor, *, standardise: bool = True) -> torch.Tensor:
    """The loss of every row, shape (C,).

    :param student, teacher: the K largest logits, descending, shape (C, K).
    :param standardise: otherwise the softmax of the K logits as they are.
    """
    if standardise:
        student, teacher = standardise_rows(student), standardise_rows(teacher)
    return (student.softmax(1) - teacher.softmax(1)).abs().sum(1)


@dataclass(frozen=True)
class Uld(ChunkLoss):
    """:func:`uld` at the start of every chunk."""

    k: int = 10
    standardise: bool = True
    name: str = "uld"

    @property
    def needs(self) -> TeacherStatistics:
        return TeacherStatistics(top=self.k)

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        assert batch.top is not None
        return Reads(top=min(self.k, width, batch.top.shape[1]))  # there are vocabularies of bytes

    def each(self, seen: SeenTokens, batch: DistillBatch) -> torch.Tensor:
        assert batch.top is not None
        return uld(seen.top, batch.top[:, : seen.top.shape[1]], standardise=self.standardise)
