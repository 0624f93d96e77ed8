"""Segmentation ``latin``: how texts were cut and compared before CoGen knew other scripts.

Kept unchanged, since recipes of published experts name it: they must give the same documents again, bit for bit.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from cogen.text.comments import without_comments
from cogen.text.cut import NO_BOUNDARY, TOO_SHORT

_NGRAM = 8


def chunks(text: str, smallest: int, largest: int) -> Iterator[tuple[str, str]]:
    """(text, reason) of documents of ``smallest`` to ``largest`` characters, cut between paragraphs or sentences.

    An empty reason: a document. Else why this text is none. Both in the order of the text.
    """
    current = ""
    for paragraph in text.split("\n\n"):
        pieces = [paragraph] if len(paragraph) <= largest else re.split(r"(?<=[.;:!?])\s+", paragraph)
        for index, piece in enumerate(pieces):
            joint = "\n\n" if index == 0 else " "
            if current and len(current) + len(joint) + len(piece) > largest:
                yield current, "" if len(current) >= smallest else TOO_SHORT
                current = ""
            current = f"{current}{joint}{piece}" if current else piece
            if len(current) > largest:  # one sentence longer than a document: a list or a table, not prose
                yield current, NO_BOUNDARY
                current = ""
    if current:
        yield current, "" if len(current) >= smallest else TOO_SHORT


def tidy(text: str) -> str:
    """Single spaces inside paragraphs, single blank lines between them, no control characters."""
    text = without_comments(text.replace("\r", "").replace("\x00", ""))
    text = re.sub(r"[^\S\n]+", " ", text)
    paragraphs = (re.sub(r"\s*\n\s*", " ", block).strip() for block in re.split(r"\n\s*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def ngrams(text: str) -> set[int]:
    """CRC-32 of every word 8-gram, lower case, words only. A shorter text is one gram."""
    words = re.findall(r"\w+", text.lower())
    if len(words) <= _NGRAM:
        return {zlib.crc32(" ".join(words).encode())}
    return {zlib.crc32(" ".join(words[i : i + _NGRAM]).encode()) for i in range(len(words) - _NGRAM + 1)}
