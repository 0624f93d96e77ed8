"""UTF-7: seen where it is, and never in ordinary text with plus signs."""

from __future__ import annotations

import base64
import random

import pytest
from text.test_decode import TEXTS

from cogen.text.decode import decode
from cogen.text.undecodable import Undecodable
from cogen.text.utf7 import utf7

PLUS = ("C++", "x+y", "x+foo", "y+dog", "+bus", "+zoo", "1+1=2", "+8613800138000")
WORDS = ("the", "dog", "and", "a", "frog", "to", "zoo", "bus", "tag", "foo", *PLUS)


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "English"])
def test_it_is_seen(name: str) -> None:
    """In every language of the table of encodings; with plus signs and other ASCII beside."""
    text = "\n".join([TEXTS[name][0] + " 2+2=4 (mail@example.org)"] * 4)
    data = text.encode("utf-7")
    assert data.isascii()
    found = decode(data)
    assert (found.text, found.encoding, found.how) == (text, "utf-7", "detected")


@pytest.mark.parametrize(
    "text",
    [
        "The patient was admitted. 1 + 1 = 2.",
        "a+foo, b+too, c+zoo, d+bus, e+dogs",
        "+foo +too +zoo " * 40,
        "if (x+variable > y+another) { i++; }\n" * 20,
        "call +86 138 0013 8000 or +4930123456",
        "a+-b",
        "Stra+AN8-e",  # one letter is not enough to read a whole file otherwise
        "",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert utf7(text.encode()) is None
    assert decode(text.encode()) == (text, "utf-8", "UTF-8")


def test_no_random_text_is_taken_for_it() -> None:
    """Words with plus signs, and base64, of which none is text in UTF-16."""
    draw = random.Random(7)
    refused = 0
    for _ in range(2000):
        words = " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 60)))
        assert utf7(words.encode()) is None
        blob = base64.b64encode(draw.randbytes(draw.randint(1, 200)))
        assert utf7(blob) is None
        try:
            assert utf7(b"+" + blob.rstrip(b"=") + b"-") is None
        except Undecodable:  # two common letters by accident, and nothing else in the file to tell by
            refused += 1
    assert refused < 4
