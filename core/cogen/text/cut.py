"""Cut a text into documents without losing any of it, in any language.

A document ends at the last paragraph that fits; where none ends in reach, at a sentence, a clause, a space, a word, and
in the end between any two characters that a reader sees as one each (grapheme clusters, UAX #29).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import regex

from cogen.text.scripts import starts

#: Why text became no document.
TOO_SHORT = "shorter than min_characters"
NO_BOUNDARY = "no sentence ends within max_characters"
#: Where a document may end, best first. Each match ends there. SB and WB: properties of UAX #29.
_LEVELS = tuple(
    regex.compile(pattern, regex.V1 | regex.WORD)
    for pattern in (
        r"\n\n",
        r"\p{SB=STerm}[\p{SB=STerm}\p{SB=ATerm}\p{SB=Close}]*\s*|"
        r"\p{SB=ATerm}[\p{SB=STerm}\p{SB=ATerm}\p{SB=Close}]*\s+(?!\p{Ll})",
        r"[\p{SB=SContinue};;；][\p{SB=Close}]*(?:\s+|(?<=[、，；：､]))",
        r"\s+",
        r"\b(?![\p{SB=STerm}\p{SB=ATerm}\p{SB=Close}\p{SB=SContinue}\p{M}])",
        r"\X",
    )
)
#: White space between two documents: tidy text has a space or an empty line.
_GAP = 2
#: How far a boundary looks around itself, in characters.
_CONTEXT = 40


def cut(text: str, smallest: int, largest: int) -> Iterator[tuple[str, str]]:
    """(text, reason) of documents of ``smallest`` to ``largest`` characters, in order; nothing between them is lost.

    Lengths are in Latin letters (:func:`cogen.text.scripts.starts`). What is left at the end joins the document before
    it or shares its text with it. An empty reason: a document. The other one is :data:`TOO_SHORT`: the text as a whole
    is shorter than ``smallest`` (or ``smallest`` is more than half of ``largest``, and the end could not be joined).
    """
    sizes = starts(text)

    def size(begin: int, end: int) -> int:
        return end - begin if sizes is None else sizes[end] - sizes[begin]

    def reach(begin: int, letters: int, enough: bool) -> int:
        """Position that is ``letters`` after ``begin``: the first with so many (enough), or the last with no more."""
        if sizes is None:
            return min(len(text), begin + letters)
        side = bisect_left if enough else bisect_right
        return min(len(text), side(sizes, sizes[begin] + letters) - (not enough))

    begin = 0
    while begin < len(text):
        left = size(begin, len(text))
        if left <= largest:
            yield text[begin:], "" if left >= smallest else TOO_SHORT
            return
        # What remains after a full document must be a document too: else the two share the text.
        rest = left - smallest - _GAP
        most = largest if rest >= largest else max(smallest, rest)
        end = _boundary(text, reach(begin, smallest, True), max(begin + 1, reach(begin, most, False)))
        yield text[begin:end], ""
        while end < len(text) and text[end].isspace():
            end += 1
        begin = end


def _boundary(text: str, low: int, high: int) -> int:
    """The best place to cut in ``low`` … ``high``, both included: the last one of the best level that has any."""
    before, after = max(0, low - _CONTEXT), min(len(text), high + _CONTEXT)
    for level in _LEVELS:
        ends = (_without_space(text, match.end()) for match in level.finditer(text, before, after))
        if inside := [end for end in ends if low <= end <= high]:
            return inside[-1]
    return high


def _without_space(text: str, end: int) -> int:
    while end and text[end - 1].isspace():
        end -= 1
    return end
