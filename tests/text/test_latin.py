"""Segmentation ``latin`` gives what it always gave: published corpora depend on it."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.text.cut import NO_BOUNDARY, TOO_SHORT
from cogen.text.latin import chunks, ngrams, tidy

#: No test is timed.
SETTINGS = settings(deadline=None)


def kept(text: str, smallest: int, largest: int) -> list[str]:
    return [piece for piece, reason in chunks(text, smallest, largest) if not reason]


WORDS = st.lists(st.sampled_from(["one", "two", "three.", "four;", "five", "x" * 30, "\n\n"]), max_size=60).map(
    " ".join
)


class TestChunks:
    """Documents of ``smallest`` to ``largest`` characters, cut between paragraphs or sentences, in order."""

    @SETTINGS
    @given(text=WORDS, smallest=st.integers(1, 40), largest=st.integers(40, 120))
    def test_bounds_and_order(self, text: str, smallest: int, largest: int) -> None:
        """Every document is within the bounds, and its words stand in the text in this order."""
        text = tidy(text)
        found = kept(text, smallest, largest)
        assert all(smallest <= len(document) <= largest for document in found)
        rest = iter(text.split())
        for document in found:
            assert all(any(word == other for other in rest) for word in document.split())

    @SETTINGS
    @given(text=WORDS)
    def test_nothing_is_lost_when_nothing_is_too_small_or_too_large(self, text: str) -> None:
        """With a lower bound of one character and short sentences every word comes out."""
        text = tidy(text)
        longest = max(
            [len(s) for s in text.replace("\n\n", " ").replace(".", ".\n").replace(";", ";\n").split("\n")] + [40]
        )
        found = kept(text, 1, longest)
        assert " ".join(found).split() == text.split()

    def test_where_it_cuts(self) -> None:
        """Paragraphs are kept together while they fit; a long one is cut after a sentence."""
        assert kept("aaaa\n\nbbbb\n\ncccc", 1, 10) == ["aaaa\n\nbbbb", "cccc"]
        assert kept("One two. Three four. Five.", 1, 12) == ["One two.", "Three four.", "Five."]
        assert kept("aa\n\nbbbbbbbbbbbb\n\ncc", 1, 8) == ["aa", "cc"]
        assert kept("aa", 3, 8) == []

    def test_what_it_loses(self) -> None:
        """Named with its reason: nothing of the text is missing from the two together."""
        assert list(chunks("aa\n\nbbbbbbbbbbbb\n\ncc", 3, 8)) == [
            ("aa", TOO_SHORT),
            ("bbbbbbbbbbbb", NO_BOUNDARY),
            ("cc", TOO_SHORT),
        ]


def test_white_space_and_controls() -> None:
    """As it was: NUL and CR are dropped, other white space is a space."""
    assert tidy("One  two\nthree\x00.\r\n\n\n<!-- x -->Four\tfive.") == "One two three.\n\nFour five."
    assert tidy("患者\n入院") == "患者 入院"


def test_ngrams_of_other_scripts_are_as_blind_as_they_were() -> None:
    """One clause of Chinese is one word."""
    text = "患者因发热三天入院，伴有咳嗽、咳痰。"
    assert len(ngrams(text)) == 1
    assert ngrams("A b, c d e f g h i") == {zlib.crc32(b"a b c d e f g h"), zlib.crc32(b"b c d e f g h i")}
