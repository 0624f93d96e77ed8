"""Markdown as recipes with segmentation ``latin`` read it: what plain patterns would take out goes, in time that grows
with the text and no faster."""

from __future__ import annotations

import random
import re
from types import SimpleNamespace
from typing import Any

import pytest

from cogen.forge.extractors.latin_markdown import markdown

MARKS = [
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "!",
    "![",
    "](",
    "<!--",
    "-->",
    "<b>",
    "#",
    "##",
    "*",
    "`",
    "_",
    "|",
    "```",
    ":::",
]
WORDS = [
    "a",
    "b c",
    " ",
    "  ",
    "\n",
    "\n\n",
    "    ",
    "\t",
    "---\n",
    "~~~",
    "\n```\n",
    "\n```py\n",
    "\n:::\n",
    "\n# ",
    "===",
]


def prose(text: str) -> str:
    member: Any = SimpleNamespace(name="x.md", text=text)
    ((name, found),) = markdown(member)
    assert name == "x.md"
    return found


def by_patterns(text: str) -> str:
    """The same by patterns that are easy to read, and that take the square of the time where marks are not closed."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"^(```|~~~|:::).*?^\1\s*$", "\n", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->|<[^>\n]+>|!\[[^\]]*\]\([^)]*\)", "", text, flags=re.S)
    text = re.sub(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    noise = r"^\s*\||^\s{4,}\S|^\s*[-=*_]{3,}\s*$|^\s*(!!!|\?\?\?|===|--8<--)"
    lines = [line for line in text.split("\n") if not re.match(noise, line)]
    plain = re.sub(r"^#{1,6}\s*(.*?)\s*#*$", r"\n\1\n", "\n".join(lines), flags=re.M)
    return re.sub(r"[*_`]{1,3}([^*_`\n]+)[*_`]{1,3}", r"\1", plain)


def test_it_is_what_the_patterns_give() -> None:
    draw = random.Random(18)
    for _ in range(20_000):
        text = "".join(draw.choice(draw.choice((MARKS, WORDS))) for _ in range(draw.randint(0, 40)))
        assert prose(text) == by_patterns(text), text


@pytest.mark.parametrize("mark", ["[", "![", "![](", "[](", "<", "<!--", "```a\n", ":::x\ny\n", "[x](", "# a  b"])
def test_what_is_opened_a_million_times(mark: str) -> None:
    """By the patterns 80 KB of the first one took more than a minute, and a megabyte would take hours."""
    text = mark * (1_000_000 // len(mark))
    assert len(prose(text)) <= len(text) + 2
