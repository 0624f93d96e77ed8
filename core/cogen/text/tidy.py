"""White space: what of it means something in a text."""

from __future__ import annotations

import re

import regex

from cogen.text.scripts import LETTERS_UNSPACED

#: Line ends that are not "\\n": of Windows, of old Macintosh files, of Unicode.
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
#: Text without spaces between words, or its punctuation, on both sides of a line break: the break is no space either.
_WIDE = rf"[{LETTERS_UNSPACED}\u3000-\u303f\uff00-\uffef]"
_WRAPPED = regex.compile(rf"(?<={_WIDE}[^\S\n]*)\n[^\S\n]*(?={_WIDE})", regex.V1)


def tidy(text: str) -> str:
    """Single spaces inside paragraphs, single empty lines between them, no invisible marks.

    A line break inside a paragraph becomes a space, or nothing where the script puts none between words.
    """
    text = _LINE_END.sub("\n", text).replace("\x00", "").replace("\ufeff", "")
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        if not block.isascii():
            block = _WRAPPED.sub("", block)
        if paragraph := re.sub(r"\s+", " ", block).strip():
            paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)
