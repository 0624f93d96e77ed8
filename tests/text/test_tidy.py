"""Comments of markup go, in time linear in the text; the pattern of before is the reference."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cogen.text.comments import without_comments
from cogen.text.tidy import tidy

PIECES = ["<!--", "-->", "<", "!", "-", ">", "--", "a", "\n", "é"]


@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join))
def test_without_comments(text: str) -> None:
    assert without_comments(text) == re.sub(r"<!--.*?-->", "", text, flags=re.S)


def test_many_that_nobody_closes() -> None:
    """A hundred thousand of them, which the pattern would search to the end of the text each."""
    text = "<!-- a\n\n" * 100_000
    assert without_comments(text) == text
    assert tidy(text) == text.strip()
