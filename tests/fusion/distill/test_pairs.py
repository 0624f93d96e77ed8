"""From texts and statistics to tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import llama
from support.tokenizers import OTHER_WORDS, bytewise, pieces

from cogen.errors import SpecError
from cogen.fusion.distill.corpus import bits_per_byte
from cogen.fusion.distill.encode import Encoded, Encoder
from cogen.fusion.distill.pairs import Taught, batch, pair
from cogen.fusion.distill.teacher import LocalTeacher
from cogen.fusion.distill.texts import Item, read_items, texts_digest
from cogen.fusion.distill.wanted import Wanted

ITEMS = [Item("the grid operator 😀"), Item("мощность"), Item("the solver measures voltage at every node")]


def sides() -> tuple[list[Encoded], list[Encoded], list[Any]]:
    """Student's and teacher's encodings of the same texts, and the teacher's statistics."""
    other = pieces("bpe", OTHER_WORDS)
    teacher = LocalTeacher(lambda: llama(5, vocab_size=len(other)), other, "t")
    student = Encoder(bytewise()).encode(ITEMS, 100)
    theirs = teacher.encoder.encode(ITEMS, 100)
    return student, theirs, list(teacher.score(theirs, Wanted(True, True, 4, 6)))


def test_a_batch_learns_answers_and_what_closes_them() -> None:
    text = Encoded(np.array([9, 8, 7, 6, 5], dtype=np.int32), 2, 4, np.array([1, 2], dtype=np.int32))
    short = Encoded(np.array([9, 7], dtype=np.int32), 1, 2, np.array([1], dtype=np.int32))
    none = Encoded(np.array([9, 8], dtype=np.int32), 2, 2, np.zeros(0, dtype=np.int32))
    found = batch([text, short, none], padding=3)
    assert found["input_ids"].tolist() == [[9, 8, 7, 6, 5], [9, 7, 3, 3, 3], [9, 8, 3, 3, 3]]
    assert found["attention_mask"].sum(1).tolist() == [5, 2, 2]
    assert found["targets"].tolist() == [[-100, 7, 6, 5, -100], [7, -100, -100, -100, -100], [-100] * 5]
    assert batch([text], 3, closing=False)["targets"].tolist() == [[-100, 7, 6, -100, -100]]


def test_rows_of_a_pair_are_where_its_chunks_are() -> None:
    """By hand, from bytes alone: every chunk's rows predict the tokens that cover its bytes."""
    student, theirs, said = sides()
    made = batch(student, 0)
    found = pair(student, [Taught.of(*three) for three in zip(student, theirs, said, strict=True)], made["targets"])
    width = made["targets"].shape[1]
    number = 0
    for index, (own, other, one) in enumerate(zip(student, theirs, said, strict=True)):
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
    student, theirs, said = sides()
    made = batch(student, 0)
    model = llama()
    with torch.no_grad():
        logits = model(made["input_ids"], attention_mask=made["attention_mask"]).logits
    found = pair(student, [Taught.of(*three) for three in zip(student, theirs, said, strict=True)], made["targets"])
    flat = logits.reshape(len(found.targets), -1).log_softmax(1)
    for c in range(found.chunks):
        text = student[int(found.text[c])]
        before = int(found.start[c]) % made["targets"].shape[1] + 1
        with torch.no_grad():
            alone = model(torch.from_numpy(text.ids[None, :before].astype(np.int64))).logits[0, -1].log_softmax(0)
        torch.testing.assert_close(flat[found.start[c]], alone, rtol=1e-4, atol=1e-4)


def test_a_text_that_is_not_taught_has_no_chunks() -> None:
    student, theirs, said = sides()
    made = batch(student, 0)
    taught = [None, Taught.of(student[1], theirs[1], said[1]), None]
    found = pair(student, taught, made["targets"])
    assert set(found.text.tolist()) == {1}
    assert pair(student, [None] * 3, made["targets"]).chunks == 0


def test_bits_per_byte() -> None:
    _, theirs, said = sides()
    wanted = -float(said[0]["logprob"].astype(np.float64).sum()) / np.log(2) / len(ITEMS[0].answer.encode())
    assert bits_per_byte(theirs[0], said[0]) == pytest.approx(wanted)
    empty = Encoded(theirs[0].ids[:1], 1, 1, theirs[0].ends[:0])
    assert bits_per_byte(empty, {"logprob": np.zeros(0)}) == float("inf")


class TestTexts:
    """JSON Lines."""

    def test_every_form(self, tmp_path: Any) -> None:
        file = tmp_path / "texts.jsonl"
        file.write_text(
            '{"text": "one\\u2028line"}\n\n{"prompt": "why?", "answer": "so", "owner": "power"}\n'
            '{"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}, '
            '{"role": "assistant", "content": "hello"}]}\n'
        )
        one, two, three = read_items(file, "clinical")
        assert (one.answer, one.messages, one.owner) == ("one\u2028line", (), "clinical")
        assert (two.answer, two.messages[0].content, two.owner) == ("so", "why?", "power")
        assert ([m.role for m in three.messages], three.answer) == (["system", "user"], "hello")
        assert texts_digest([one, two]) != texts_digest([two, one])

    @pytest.mark.parametrize(
        ("line", "text"),
        [
            ("nothing", "no JSON"), ("[1]", "not an object"), ('{"prompt": "x"}', "answer is missing"),
            ('{"text": ""}', "text is not a text"), ('{"text": 3}', "text is not a text"),
            ('{"messages": [{"role": "user", "content": "x"}]}', "not the assistant's"),
            ('{"messages": []}', "not the assistant's"), ('{"text": "\\ud800"}', "half a surrogate pair"),
        ],
    )  # fmt: skip
    def test_mistakes_are_named_with_their_line(self, tmp_path: Any, line: str, text: str) -> None:
        file = tmp_path / "texts.jsonl"
        file.write_text('{"text": "fine"}\n' + line + "\n")
        with pytest.raises(SpecError, match=f"line 2: .*{text}") as found:
            read_items(file)
        assert "text" in (found.value.hint or "")

    def test_nothing_there(self, tmp_path: Any) -> None:
        with pytest.raises(SpecError, match="cannot be read"):
            read_items(tmp_path / "none.jsonl")
        (tmp_path / "empty.jsonl").write_text("\n")
        with pytest.raises(SpecError, match="holds no text"):
            read_items(tmp_path / "empty.jsonl")
