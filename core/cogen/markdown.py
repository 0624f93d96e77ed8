"""Other people's words in Markdown: escaped, so that a title can't become a link, a tag or another row."""

from __future__ import annotations

import re
from collections.abc import Sequence


def plain(text: str) -> str:
    """One line of plain text: no markup, no link, no table cell of its own."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Addresses would become links by themselves.
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", line).replace("://", ":&#47;&#47;")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Every cell escaped."""
    lines = [[plain(cell) for cell in line] for line in (heads, *rows)]
    lines.insert(1, ["---"] * len(heads))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def word(text: str) -> str:
    """One word of a command line: nothing in it can end the word or the block."""
    return re.sub(r"[^\w.+!=-]", "", text, flags=re.ASCII)
