"""Alignment by bytes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reading import KINDS, encoder, ends, hard
from support.tokenizers import TEXTS, bytewise, special

from cogen.fusion.distill.alignment.align import Chunks, align
from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.texts import Item, Message

#: Ends of tokens: they never fall, and some tokens have no width.
some_ends = st.lists(st.integers(0, 30), max_size=25).map(lambda found: np.array(sorted(found), dtype=np.int32))


def rows(found: Chunks) -> list[list[int]]:
    return [side.tolist() for side in vars(found).values()]


def two_pointers(a: list[int], b: list[int]) -> list[list[int]]:
    """The definition: the side that is behind takes its next token; a chunk closes where both are level."""
    found: list[list[int]] = [[], [], [], [], []]
    i = j = first_a = first_b = at_a = at_b = 0
    before = 0
    while True:
        if at_a == at_b > before:
            for column, value in zip(found, (first_a, i - 1, first_b, j - 1, at_a), strict=True):
                column.append(value)
            first_a, first_b, before = i, j, at_a
        elif at_a <= at_b and i < len(a):
            at_a, i = a[i], i + 1
        elif at_b <= at_a and j < len(b):
            at_b, j = b[j], j + 1
        else:
            return found


def laws(found: Chunks, a: np.ndarray, b: np.ndarray) -> None:
    """Chunks follow one another, cover the same bytes on both sides, and none could be cut further."""
    assert all(side.dtype == np.int32 for side in vars(found).values())
    for first, last, side in ((found.a_first, found.a_last, a), (found.b_first, found.b_last, b)):
        assert np.array_equal(side[last], found.end)
        assert (first <= last).all()
        assert np.array_equal(first[1:], last[:-1] + 1)
        assert not len(first) or first[0] == 0
        # Nothing of no width at a chunk's end: the token before the last one ends earlier.
        assert all(f == n or side[n - 1] < side[n] for f, n in zip(first, last, strict=True))
    assert (np.diff(found.end, prepend=0) > 0).all()
    assert set(found.end.tolist()) == set(a.tolist()) & set(b.tolist()) - {0}


@given(a=some_ends, b=some_ends)
@settings(deadline=None, max_examples=500)
def test_it_is_what_two_pointers_find(a: np.ndarray, b: np.ndarray) -> None:
    found = align(a, b)
    assert rows(found) == two_pointers(a.tolist(), b.tolist())
    laws(found, a, b)
    a_first, a_last, b_first, b_last, end = rows(found)
    assert rows(align(b, a)) == [b_first, b_last, a_first, a_last, end]


@given(a=some_ends, b=some_ends, cut=st.integers(0, 25))
@settings(deadline=None, max_examples=300)
def test_a_side_that_was_cut_takes_whole_chunks_away(a: np.ndarray, b: np.ndarray, cut: int) -> None:
    whole, part = align(a, b), align(a[:cut], b)
    kept = whole.a_last < cut
    assert rows(part) == [side[kept].tolist() for side in vars(whole).values()]


@given(a=some_ends)
def test_the_same_tokens_are_a_chunk_each(a: np.ndarray) -> None:
    a = np.unique(a[a > 0])
    every = list(range(len(a)))
    assert rows(align(a, a)) == [every, every, every, every, a.tolist()]


def test_by_hand() -> None:
    #      th|e| grid   and   the|␣|grid : bytes 3 and 8 are common
    assert rows(align(np.array([2, 3, 8]), np.array([3, 4, 8]))) == [[0, 2], [1, 2], [0, 1], [0, 2], [3, 8]]


def test_tokens_of_no_width() -> None:
    """In front and between they belong to the next chunk, at the end to none."""
    found = rows(align(np.array([0, 3, 3, 5, 5]), np.array([3, 5])))
    assert found == [[0, 2], [1, 3], [0, 1], [0, 1], [3, 5]]


def test_nothing_in_common() -> None:
    nothing = np.zeros(0, dtype=np.int32)
    for a, b in itertools.product((nothing, np.array([0, 0]), np.array([1, 3])), (nothing, np.array([2, 4]))):
        assert rows(align(a, b)) == [[], [], [], [], []]


class TestTexts:
    """Real tokens of one text on both sides."""

    @pytest.mark.parametrize("one", KINDS)
    def test_every_two_kinds(self, one: str) -> None:
        for two, text in itertools.product(KINDS, TEXTS):
            a, b = ends(one, text), ends(two, text)
            laws(align(a, b), a, b)
            if a[-1] == b[-1]:
                assert align(a, b).end[-1] == a[-1]

    @given(text=hard)
    @settings(deadline=None, max_examples=60)
    def test_what_both_have_read_is_the_same(self, text: str) -> None:
        """Compared by the tokens' own bytes: kinds that change nothing, so these are the text's."""
        sides = [encoder(kind) for kind in ("bytes", "bytes, other merges", "bytes, added tokens")]
        read = [own.encode([Item(text)], 1000)[0] for own in sides]
        for (own, a), (other, b) in itertools.combinations(zip(sides, read, strict=True), 2):
            found = align(a.ends, b.ends)
            for a_first, a_last, b_first, b_last in zip(*rows(found)[:4], strict=True):
                left = a.ids[a.start + a_first : a.start + a_last + 1]
                right = b.ids[b.start + b_first : b.start + b_last + 1]
                assert b"".join(own.token_bytes[id] or b"" for id in left) == b"".join(
                    other.token_bytes[id] or b"" for id in right
                )

    def test_what_was_cut_on_one_side_is_left_out(self) -> None:
        (long,) = encoder("bytes").encode([Item(TEXTS[0])], 10_000)
        (short,) = encoder("sentencepiece").encode([Item(TEXTS[0])], 8)
        assert len(short.ids) == 8
        found = align(long.ends, short.ends)
        assert found.end[-1] <= short.ends[-1] < len(TEXTS[0].encode())

    def test_a_beginning_of_text_on_one_side_only(self) -> None:
        """It stands before the answer, so it shifts nothing (pitfall: one super-group for the whole text)."""
        plain, led = bytewise(), bytewise(added=[special("<s>")])
        led.bos_token = "<s>"
        led.chat_template = "<s>{{ messages[0].content }}"
        plain.chat_template = "{{ messages[0].content }}"
        item = Item("the grid operator", (Message("user", "?"),))
        (a,), (b,) = Encoder(plain).encode([item], 100), Encoder(led).encode([item], 100)
        assert b.start == a.start + 1
        assert rows(align(a.ends, b.ends)) == rows(align(a.ends, a.ends))
        assert len(align(a.ends, b.ends).end) == len(a.ends)
