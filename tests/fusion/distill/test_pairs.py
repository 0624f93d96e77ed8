"""From texts and statistics to tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import llama
from support.tokenizers import OTHER_WORDS, bytewise, pieces

from cogen.fusion.distill.alignment.encode import Encoded, Encoder
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.collate import AlignedText, collate, student_batch
from cogen.fusion.distill.student.corpus import Batches, TeacherView, bits_per_byte
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.teacher import LocalTeacher
from cogen.fusion.distill.texts import Item

ITEMS = [Item("the grid operator 😀"), Item("мощность"), Item("the solver measures voltage at every node")]


def sides() -> tuple[list[Encoded], list[Encoded], list[Any]]:
    """Student's and teacher's encodings of the same texts, and the teacher's statistics."""
    other = pieces("bpe", OTHER_WORDS)
    teacher = LocalTeacher(lambda: llama(5, vocab_size=len(other)), other, "t")
    student = Encoder(bytewise()).encode(ITEMS, 100)
    theirs = teacher.encoder.encode(ITEMS, 100)
    return student, theirs, list(teacher.score(theirs, TeacherStatistics(True, True, 4, 6)))


def test_a_batch_learns_answers_and_what_closes_them() -> None:
    text = Encoded(np.array([9, 8, 7, 6, 5], dtype=np.int32), 2, 4, np.array([1, 2], dtype=np.int32))
    short = Encoded(np.array([9, 7], dtype=np.int32), 1, 2, np.array([1], dtype=np.int32))
    none = Encoded(np.array([9, 8], dtype=np.int32), 2, 2, np.zeros(0, dtype=np.int32))
    found = student_batch([text, short, none], padding=3)
    assert found["input_ids"].tolist() == [[9, 8, 7, 6, 5], [9, 7, 3, 3, 3], [9, 8, 3, 3, 3]]
    assert found["attention_mask"].sum(1).tolist() == [5, 2, 2]
    assert found["targets"].tolist() == [[-100, 7, 6, 5, -100], [7, -100, -100, -100, -100], [-100] * 5]
    assert student_batch([text], 3, closing=False)["targets"].tolist() == [[-100, 7, 6, -100, -100]]


def test_rows_of_a_pair_are_where_its_chunks_are() -> None:
    """By hand, from bytes alone: every chunk's rows predict the tokens that cover its bytes."""
    student, theirs, output = sides()
    made = student_batch(student, 0)
    found = collate(
        student, [AlignedText.of(*three) for three in zip(student, theirs, output, strict=True)], made["targets"]
    )
    width = made["targets"].shape[1]
    number = 0
    for index, (own, other, one) in enumerate(zip(student, theirs, output, strict=True)):
        common = sorted({*own.ends.tolist()} & {*other.ends.tolist()} - {0})
        before = 0
        for end in common:
            a = [i for i in range(len(own.ends)) if before < own.ends[i] <= end or own.ends[i] == before == 0]
            b = [i for i in range(len(other.ends)) if before < other.ends[i] <= end or other.ends[i] == before == 0]
            row = index * width + own.start - 1 + a[0]
            assert found.start[number] == row
            assert found.after[number] == row + len(a)
            assert (found.chunk == number).nonzero()[:, 0].tolist() == list(range(row, row + len(a)))
            assert found.targets[row] == own.ids[own.start + a[0]]
            assert found.text[number] == index
            assert found.single[number] == (len(a) == len(b) == 1)
            assert found.teacher_target[number] == other.ids[other.start + b[0]]
            assert found.logprob is not None
            assert found.logprob[number] == pytest.approx(float(one["logprob"][b].astype(np.float64).sum()), rel=1e-5)
            assert found.boundary is not None
            assert found.boundary[number] == pytest.approx(float(one["boundary"][b[-1] + 1]))
            assert found.top is not None
            assert found.top[number].tolist() == pytest.approx(one["top"][b[0]].tolist())
            assert found.ids is not None
            assert found.ids[number].tolist() == one["sparse_ids"][b[0]].tolist()
            before = end
            number += 1
    assert number == found.chunks > 6


def test_the_row_of_a_chunk_gives_its_first_token() -> None:
    """Pitfall 2, with a model: the logits at a chunk's start are those before its first token."""
    student, theirs, output = sides()
    made = student_batch(student, 0)
    model = llama()
    with torch.no_grad():
        logits = model(made["input_ids"], attention_mask=made["attention_mask"]).logits
    found = collate(
        student, [AlignedText.of(*three) for three in zip(student, theirs, output, strict=True)], made["targets"]
    )
    flat = logits.reshape(len(found.targets), -1).log_softmax(1)
    for c in range(found.chunks):
        text = student[int(found.text[c])]
        before = int(found.start[c]) % made["targets"].shape[1] + 1
        with torch.no_grad():
            alone = model(torch.from_numpy(text.ids[None, :before].astype(np.int64))).logits[0, -1].log_softmax(0)
        torch.testing.assert_close(flat[found.start[c]], alone, rtol=1e-4, atol=1e-4)


def test_a_text_that_is_not_taught_has_no_chunks() -> None:
    student, theirs, output = sides()
    made = student_batch(student, 0)
    distilled = [None, AlignedText.of(student[1], theirs[1], output[1]), None]
    found = collate(student, distilled, made["targets"])
    assert set(found.text.tolist()) == {1}
    assert collate(student, [None] * 3, made["targets"]).chunks == 0


def test_bits_per_byte() -> None:
    _, theirs, output = sides()
    wanted = -float(output[0]["logprob"].astype(np.float64).sum()) / np.log(2) / len(ITEMS[0].answer.encode())
    assert bits_per_byte(theirs[0], output[0]) == pytest.approx(wanted)
    empty = Encoded(theirs[0].ids[:1], 1, 1, theirs[0].ends[:0])
    assert bits_per_byte(empty, {"logprob": np.zeros(0)}) == float("inf")


def test_a_pair_by_hand() -> None:
    """Two texts; the student reads abc|de and f|g, the teacher a|bcd|e and f|g behind a prompt of two tokens."""
    a = Encoded(np.array([1, 10, 11, 2], dtype=np.int32), 1, 3, np.array([3, 5], dtype=np.int32))
    b = Encoded(np.array([1, 12, 13], dtype=np.int32), 1, 3, np.array([1, 2], dtype=np.int32))
    x = Encoded(np.array([5, 20, 21, 22], dtype=np.int32), 1, 4, np.array([1, 4, 5], dtype=np.int32))
    y = Encoded(np.array([5, 6, 23, 24, 7], dtype=np.int32), 2, 4, np.array([1, 2], dtype=np.int32))
    output = [
        {"logprob": np.array([-1, -2, -4]), "boundary": np.array([-0.1, -0.2, -0.3, -0.4]), "top": np.eye(4, 2)},
        {"logprob": np.array([-8, -16]), "boundary": np.array([-0.5, -0.6, -0.7]), "top": np.full((3, 2), 9)},
    ]
    made = student_batch([a, b], 0)
    found = collate([a, b], [AlignedText.of(a, x, output[0]), AlignedText.of(b, y, output[1])], made["targets"])
    assert found.targets.tolist() == [10, 11, 2, -100, 12, 13, -100, -100]
    assert found.chunk.tolist() == [0, 0, -1, -1, 1, 2, -1, -1]
    assert found.start.tolist() == [0, 4, 5]
    assert found.after.tolist() == [2, 5, 6]
    assert found.text.tolist() == [0, 1, 1]
    assert found.single.tolist() == [False, True, True]
    assert found.teacher_target.tolist() == [20, 23, 24]
    assert found.logprob is not None
    assert found.logprob.tolist() == [-7, -8, -16]
    assert found.boundary is not None
    assert found.boundary.tolist() == pytest.approx([-0.4, -0.6, -0.7])
    assert found.top is not None
    assert found.top.tolist() == [[1, 0], [9, 9], [9, 9]]
    assert found.ids is found.logprobs is None


def test_types_of_a_pair_with_and_without_chunks() -> None:
    student, theirs, output = sides()
    targets = student_batch(student, 0)["targets"]
    full = collate(student, [AlignedText.of(*three) for three in zip(student, theirs, output, strict=True)], targets)
    none = collate(student, [None] * 3, targets)
    for name in ("targets", "start", "chunk", "after", "text", "single", "teacher_target"):
        assert getattr(full, name).dtype == getattr(none, name).dtype, name
        assert getattr(none, name).shape == (len(full.targets) if name in ("targets", "chunk") else 0,), name
    assert (none.chunk == -1).all()
    for name, dtype in (
        ("logprob", "float32"),
        ("boundary", "float32"),
        ("top", "float32"),
        ("ids", "int64"),
        ("logprobs", "float32"),
    ):
        assert getattr(full, name).dtype == getattr(torch, dtype), name
        assert getattr(none, name) is None, name


def test_texts_of_which_one_side_read_nothing() -> None:
    """Beside others, and alone; a cache gives empty statistics or none."""
    student, theirs, output = sides()
    empty = Encoded(theirs[1].ids[:1], 1, 1, theirs[1].ends[:0])
    targets = student_batch(student, 0)["targets"]
    for nothing in ({}, {name: values[:0] for name, values in output[1].items()}):
        some = collate(
            student,
            [
                AlignedText.of(student[i], t, s)
                for i, (t, s) in enumerate([(theirs[0], output[0]), (empty, nothing), (theirs[2], output[2])])
            ],
            targets,
        )
        assert set(some.text.tolist()) == {0, 2}
        assert some.logprob is not None
        assert len(some.logprob) == some.chunks
    unread = Encoded(student[0].ids[:1], 1, 1, student[0].ends[:0])
    assert (
        collate([unread], [AlignedText.of(unread, theirs[0], output[0])], student_batch([unread], 0)["targets"]).chunks
        == 0
    )


@pytest.mark.parametrize("accumulation", [1, 2])
def test_batches(accumulation: int) -> None:
    """Every item is a batch and a pair for each teacher; who does not teach a text has no chunks of it."""
    student, theirs, output = sides()
    settings = Distillation(tokens=400, tokens_a_step=120, accumulation=accumulation)
    teachings = [
        TeacherView("all", theirs, output, [True] * 3),
        TeacherView("some", theirs, output, [False, True, False]),
    ]
    batches = Batches(student, teachings, 0, settings)
    assert len(batches) > accumulation
    assert len(batches) % accumulation == 0
    items = [batches[at] for at in range(len(batches))]
    assert batches.learned == sum(int((item["targets"] != -100).sum()) for item in items)
    assert accumulation > 1 or batches.learned >= 400
    for chosen, item in zip(batches.order, items, strict=True):
        texts = [student[index] for index in chosen]
        assert len(texts) == 1 or item["input_ids"].numel() <= 120 // accumulation
        for name, values in student_batch(texts, 0).items():
            assert torch.equal(item[name], values), name
        reported = [AlignedText.of(student[i], theirs[i], output[i]) for i in chosen]
        expected = [
            collate(texts, reported, item["targets"]),
            collate(texts, [one if i == 1 else None for i, one in zip(chosen, reported, strict=True)], item["targets"]),
        ]
        for found, wanted in zip(item["pairs"], expected, strict=True):
            assert "targets" not in found
            rebuilt = DistillBatch(targets=item["targets"].reshape(-1), **found)
            for name, value in vars(wanted).items():
                other = getattr(rebuilt, name)
                assert (value is None and other is None) or torch.equal(value, other), name
