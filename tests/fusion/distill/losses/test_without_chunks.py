"""Batches of which a teacher teaches nothing, as they come out of the corpus: its side of the pair is empty."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from support.pairs import made_pair

from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.alignment.vocabularies import Nearest
from cogen.fusion.distill.losses.alm import Alm
from cogen.fusion.distill.losses.gold import Gold
from cogen.fusion.distill.losses.graph import Graph
from cogen.fusion.distill.losses.kl import Kl
from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.mined import MinEd
from cogen.fusion.distill.losses.projection import HybridKl, ProjectionKl
from cogen.fusion.distill.losses.projection_map import Map
from cogen.fusion.distill.losses.rows import read_logits
from cogen.fusion.distill.losses.uld import Uld
from cogen.fusion.distill.student.collate import collate, student_batch

V, PADDED = 30, 34
EVERY, LONELY = torch.arange(V), torch.arange(V) % 2 == 1
TOKENS = [b"%d" % id for id in range(V)]
LOSSES: list[Any] = [
    Uld(5),
    Alm(EVERY % 3 == 0),
    Alm(None),
    Kl(5),
    ProjectionKl(Map(EVERY, EVERY, torch.ones(V)), 5),
    HybridKl(torch.where(LONELY, -1, EVERY), LONELY, 5),
    Gold(torch.where(LONELY, -1, EVERY), LONELY, 5),
    Graph(5),
    MinEd(Nearest(TOKENS, TOKENS), 5),
]


def untaught() -> DistillBatch:
    """One text that is learned, with a teacher who was not asked about it (``mix = "best"``) or read none of it."""
    texts = [Encoded(np.array([1, 2, 3, 4], dtype=np.int32), 1, 3, np.array([1, 2]))]
    found = collate(texts, [None], student_batch(texts, 0)["targets"])
    assert found.top is found.logprob is found.ids is None
    return found


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_such_a_loss_is_zero_with_a_gradient_of_zeros(loss: Any) -> None:
    beside = untaught()
    logits = torch.randn(4, PADDED, requires_grad=True)
    (found,) = read_logits(logits, [(loss, beside)], vocabulary=V)
    total, count = loss.total(found, beside)
    assert (total.item(), count) == (0.0, 0)
    total.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_the_language_models_loss_beside_it_is_as_it_is_alone(loss: Any) -> None:
    beside = untaught()
    lm = LanguageModel()
    one = torch.randn(4, PADDED, requires_grad=True)
    two = one.detach().clone().requires_grad_(True)
    own, other = read_logits(one, [(lm, beside), (loss, beside)], vocabulary=V, elements=PADDED)
    (alone,) = read_logits(two, [(lm, beside)], vocabulary=V)
    total, count = loss.total(other, beside)
    assert (total.item(), count) == (0.0, 0)
    (lm.total(own, beside)[0] + 2.0 * total).backward()
    lm.total(alone, beside)[0].backward()
    torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_teacher_with_nothing_to_say_does_not_change_another(loss: Any) -> None:
    """Two teachers, of whom one teaches."""
    logits, distilled = made_pair(V, seed=1)
    silent = DistillBatch.alone(distilled.targets)
    found, none = read_logits(logits, [(loss, distilled), (loss, silent)], elements=2 * V)
    (alone,) = read_logits(logits, [(loss, distilled)])
    assert loss.total(none, silent)[1] == 0
    torch.testing.assert_close(loss.total(found, distilled)[0], loss.total(alone, distilled)[0])


def test_nothing_learned_at_all() -> None:
    """Every target ignored: the language model's loss is zero too."""
    logits = torch.randn(3, V, dtype=torch.bfloat16, requires_grad=True)
    nothing = DistillBatch.alone(torch.full((3,), -100))
    (found,) = read_logits(logits, [(LanguageModel(), nothing)])
    total, count = LanguageModel().total(found, nothing)
    assert (total.item(), count, total.dtype) == (0.0, 0, torch.float32)
    total.backward()
    assert logits.grad is not None
    assert not logits.grad.any()
    assert read_logits(logits, []) == []


def test_alone_has_every_shape() -> None:
    alone = DistillBatch.alone(torch.tensor([3, -100]))
    assert alone.chunks == 0
    assert {field.name for field in fields(DistillBatch) if getattr(alone, field.name) is None} == {
        "logprob",
        "boundary",
        "top",
        "ids",
        "logprobs",
    }
    assert alone.chunk.tolist() == [-1, -1]
