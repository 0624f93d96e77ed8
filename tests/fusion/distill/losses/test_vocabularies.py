"""What two tokenizers have in common, over families of them."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from support.tiny import WORDS
from support.tokenizers import OTHER_WORDS, bytewise, pieces, special, wordpieces

from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.alignment.vocabularies import (
    BEGINNINGS,
    Nearest,
    estimate_first_pieces,
    first_pieces,
    matches,
    projection,
)
from cogen.fusion.distill.run import beginnings
from cogen.fusion.distill.texts import Item

FAMILIES: dict[str, Any] = {
    "bytes": bytewise,
    "other bytes": lambda: bytewise([*OTHER_WORDS, "電力"], 320, [special("<|turn|>")]),
    "pieces": lambda: pieces("bpe", [*WORDS, *OTHER_WORDS]),
    "unigram": lambda: pieces("unigram", [*WORDS, *OTHER_WORDS]),
    "words": lambda: wordpieces([*WORDS, *OTHER_WORDS]),
}
ORDERED = list(permutations(FAMILIES, 2))


@pytest.fixture(scope="module")
def sides() -> dict[str, Encoder]:
    return {name: Encoder(make()) for name, make in FAMILIES.items()}


@pytest.mark.parametrize(("student", "teacher"), ORDERED)
def test_matches_are_all_equal_bytes_and_nothing_else(sides: dict[str, Encoder], student: str, teacher: str) -> None:
    own, other = sides[student].token_bytes, sides[teacher].token_bytes
    found = matches(own, other)
    assert found.shape == (len(other),)
    for id, token in zip(found.tolist(), other, strict=True):
        # The first of them; special tokens and those of no bytes have no like.
        assert id == (own.index(token) if token and token in own else -1)
    assert (found >= 0).sum() > 10


def test_the_families_spellings_do_not_count(sides: dict[str, Encoder]) -> None:
    """Pitfall 6: as raw strings, Ġthe and ▁the are two; with bytes, families share the common words."""
    one, two = sides["bytes"], sides["pieces"]
    the = two.tokenizer.convert_tokens_to_ids("▁the")
    found = matches(one.token_bytes, two.token_bytes)
    assert one.tokenizer.convert_ids_to_tokens(int(found[the])) == "Ġthe"
    assert (found[[two.tokenizer.bos_token_id, two.tokenizer.eos_token_id]] == -1).all()


@pytest.mark.parametrize(("student", "teacher"), ORDERED)
def test_a_projection_shares_every_token_out(sides: dict[str, Encoder], student: str, teacher: str) -> None:
    """Rows add up to one, or are empty for what is not text; pieces get 0.9, 0.09 … of their sum."""
    one, two = sides[student], sides[teacher]
    rows, columns, shares = projection(one.token_bytes, two.token_bytes, two.tokens)
    assert rows.shape == columns.shape == shares.shape
    assert shares.dtype == np.float32
    back = matches(two.token_bytes, one.token_bytes)
    for id, token in enumerate(one.token_bytes):
        here = rows == id
        if back[id] >= 0:
            assert columns[here].tolist() == [back[id]]
            assert shares[here].tolist() == [1.0]
            continue
        text = None if not token else _text(token)
        ids = two.tokens([text])[0][:4] if text else []
        assert columns[here].tolist() == ids
        raw = np.array([0.9, 0.09, 0.009, 0.0009][: len(ids)])
        np.testing.assert_allclose(shares[here], raw / raw.sum(), rtol=1e-6)
    sums = np.bincount(rows, shares, len(one.token_bytes))
    assert ((np.abs(sums - 1) < 1e-6) | (sums == 0)).all()


def test_two_pieces_get_ten_elevenths_and_one(sides: dict[str, Encoder]) -> None:
    encode = {"ab": [1, 2], "abcdef": [1, 2, 3, 4, 5, 6]}
    rows, columns, shares = projection(
        [b"ab", None, b"\xff", b"x", b"abcdef"], [b"x", b"a", b"b"], lambda texts: [encode[text] for text in texts]
    )
    by_row = {id: dict(zip(columns[rows == id], shares[rows == id], strict=True)) for id in range(5)}
    assert by_row[3] == {0: 1.0}
    assert by_row[0] == pytest.approx({1: 10 / 11, 2: 1 / 11})
    assert by_row[4] == pytest.approx({1: 1000 / 1111, 2: 100 / 1111, 3: 10 / 1111, 4: 1 / 1111})
    assert by_row[1] == by_row[2] == {}


def test_a_vocabulary_is_projected_to_itself_by_the_identity(sides: dict[str, Encoder]) -> None:
    one = sides["bytes"]
    rows, columns, shares = projection(one.token_bytes, one.token_bytes, one.tokens)
    assert [one.token_bytes[id] for id in rows] == [one.token_bytes[id] for id in columns]
    assert (shares == 1).all()


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def levenshtein(a: bytes, b: bytes) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def test_nearest_is_the_least_edit_distance() -> None:
    """Random words of few letters, so that distances of all sizes occur, against every pair of them."""
    draw = random.Random(1)
    words = [bytes(draw.choices(b"abcd", k=draw.randint(1, 9))) for _ in range(120)]
    student = [b" " * draw.randint(0, 1) + word for word in words[:60]] + [None, b"", b" "]
    teacher = [b" " * draw.randint(0, 1) + word for word in words[60:]]
    nearest = Nearest(student, teacher)
    exact = matches(student, teacher)
    known = [(token or b"").lstrip(b" ") for token in student]
    for id, token in enumerate(teacher):
        found = nearest.of(id)
        assert nearest.of(id) == found
        if exact[id] >= 0:
            assert found == exact[id]
            continue
        word = token.lstrip(b" ")
        assert known[found]
        assert levenshtein(word, known[found]) == min(levenshtein(word, own) for own in known if own)


@pytest.mark.parametrize(("student", "teacher"), [("bytes", "unigram"), ("words", "other bytes")])
def test_nearest_over_families(sides: dict[str, Encoder], student: str, teacher: str) -> None:
    own, other = sides[student].token_bytes, sides[teacher].token_bytes
    nearest, exact = Nearest(own, other), matches(own, other)
    known = [word for token in own if (word := (token or b"").lstrip(b" ")) and len(word) < 32]
    for id, token in list(enumerate(other))[::3]:
        found = nearest.of(id)
        word = (token or b"").lstrip(b" ")
        if exact[id] >= 0:
            assert found == exact[id]
        elif not word:
            assert found == -1
        else:
            there = (own[found] or b"").lstrip(b" ")
            assert levenshtein(word, there) == min(levenshtein(word, one) for one in known)


def test_nearest_of_special_tokens_and_of_padding_is_none() -> None:
    nearest = Nearest([b"a", b"b", None], [None, b"a", b" "])
    assert [nearest.of(id) for id in (0, 1, 2, 3, 999)] == [-1, 0, -1, -1, -1]


@pytest.mark.parametrize(("student", "teacher"), ORDERED)
def test_a_tokens_first_piece_begins_its_bytes(sides: dict[str, Encoder], student: str, teacher: str) -> None:
    own, other = sides[student].token_bytes, sides[teacher].token_bytes
    found = first_pieces(own, other, sides[student].tokens)
    same = matches(own, other)
    assert found[same >= 0].tolist() == same[same >= 0].tolist()
    for id, token in zip(found.tolist(), other, strict=True):
        if id >= 0:
            assert token is not None
            assert own[id]
            assert token.startswith(own[id])  # type: ignore[arg-type]
    assert (found >= 0).sum() > (same >= 0).sum()


def test_beginnings_are_shares_of_what_was_seen() -> None:
    """Half an observation for the map by bytes; the likeliest first; what was never seen keeps the map's."""
    first = np.array([3, -1, 5, -1])
    own, other = np.array([3, 7, 7, 7, 9]), np.array([0, 0, 0, 0, 1])
    tokens, shares = estimate_first_pieces(first, own, other)
    assert tokens.tolist() == [[7, 3, -1, -1], [9, -1, -1, -1], [5, -1, -1, -1], [-1, -1, -1, -1]]
    assert shares[0].tolist() == pytest.approx([3 / 4.5, 1.5 / 4.5, 0, 0])
    assert shares[1:].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    nothing = np.zeros(0, dtype=np.int64)
    tokens, shares = estimate_first_pieces(first, nothing, nothing)
    assert tokens[:, 0].tolist() == first.tolist()
    assert shares.sum(1).tolist() == [1, 0, 1, 0]


def test_no_more_beginnings_than_there_is_room_for() -> None:
    own = np.repeat(np.arange(9), np.arange(9, 0, -1))
    tokens, shares = estimate_first_pieces(np.array([-1]), own, np.zeros(len(own), dtype=np.int64))
    assert tokens.tolist() == [list(range(BEGINNINGS))]
    assert shares[0].tolist() == pytest.approx([weight / len(own) for weight in (9, 8, 7, 6)], rel=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher"), [*permutations(("bytes", "other bytes", "pieces"), 2), ("bytes", "bytes")]
)
def test_what_two_tokenizers_made_of_a_text_is_known(sides: dict[str, Encoder], student: str, teacher: str) -> None:
    """Paragraphs, contractions: what the student wrote where the teacher wrote a token is among its beginnings."""
    items = [Item(answer="It's here.\n\nThey don't say: 'no'.\n\n\n  12,000 mg\tß 東京 a\n") for _ in range(3)]
    own, other = beginnings(*(sides[side].encode(items, 512) for side in (student, teacher)))
    first = first_pieces(sides[student].token_bytes, sides[teacher].token_bytes, sides[student].tokens)
    tokens, shares = estimate_first_pieces(first, own, other)
    assert all(mine in tokens[theirs] for mine, theirs in zip(own.tolist(), other.tolist(), strict=True))
    assert shares.sum(1)[other] == pytest.approx(np.ones(len(other)))
    if student == teacher:
        assert (tokens[other, 0] == own).all()
