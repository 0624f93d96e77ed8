"""What a tokenizer cannot read: unknown pieces, and words that fall apart into letters."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerFast

from cogen.routing.reading import Coverage, reading_of


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """BERT's kind: English words and pieces, two Han characters, Cyrillic letters; it pads and cuts by default."""
    pieces = ["[UNK]", "[PAD]", "power", "grid", "##s", "a", "治", "方", *"врач", *(f"##{c}" for c in "врач")]
    found = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    found.normalizer, found.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    found.enable_padding(length=32, pad_id=1)
    found.enable_truncation(4)
    return PreTrainedTokenizerFast(tokenizer_object=found, unk_token="[UNK]", pad_token="[PAD]")


@pytest.mark.parametrize(
    ("text", "pieces", "unknown", "letters", "unread"),
    [
        ("power grids", 3, 0, 10, 0),
        ("power outages", 2, 1, 12, 7),
        ("防治方", 3, 1, 3, 1),  # Han characters alone are words
        ("врач", 4, 0, 4, 4),  # letters alone are not
        ("a grid", 2, 0, 5, 0),  # a word of one letter is one
        ("power, 12: врач", 8, 3, 9, 4),  # digits and signs are no letters
        ("", 0, 0, 0, 0),
    ],
)
def test_counts(tokenizer: Any, text: str, pieces: int, unknown: int, letters: int, unread: int) -> None:
    assert reading_of(tokenizer, [text]) == Coverage(pieces, unknown, letters, unread)


def test_texts_add_up(tokenizer: Any) -> None:
    one, other = ["power grids"], ["防治方"]
    both = reading_of(tokenizer, one + other)
    assert both == reading_of(tokenizer, one) + reading_of(tokenizer, other)
    assert both.unknown_share == pytest.approx(1 / 6)
    assert both.unread_share == pytest.approx(1 / 13)
    assert not both.poor


def test_above_a_fifth_it_is_poor() -> None:
    assert not Coverage(10, 2, 10, 2).poor
    assert Coverage(10, 3, 10, 3).poor
    assert not Coverage().poor


def test_many_texts_are_sampled(tokenizer: Any) -> None:
    """At most 64 of them, spread over all, and 2,000 characters of each."""
    found = reading_of(tokenizer, ["power"] * 500 + ["防"] * 500)
    assert found.pieces <= 64
    assert abs(found.unknown - found.pieces / 2) <= 1
    assert reading_of(tokenizer, ["a " * 5000]).letters == 1000
