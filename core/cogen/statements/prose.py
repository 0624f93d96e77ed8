"""Sentences of a document that state something, each with the text that stands before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import regex

from cogen.text.scripts import length, starts

#: Length of a sentence and of its context, in Latin letters (a Han character counts three).
SHORTEST, LONGEST, CONTEXT = 40, 320, 400
#: Where a sentence begins: after a full stop and space (UAX #29), at a new line, and at a bullet.
_END = regex.compile(
    r"\n+|\p{SB=STerm}[\p{SB=STerm}\p{SB=ATerm}\p{SB=Close}]*\s*|"
    r"(?<!\b(?:e\.g|i\.e|al|vs|cf|ca|approx|resp|Fig|Figs|Eq|Eqs|Ref|No|Dr|St|[A-Z])\.?)"
    r"\p{SB=ATerm}[\p{SB=STerm}\p{SB=ATerm}\p{SB=Close}]*\s+(?!\p{Ll})|"
    r"\s+(?=[-–•*] \p{Lu})|\s+(?=\p{Nd}{1,2}[.)]\s+\p{Lu})",
    regex.V1,
)
_BULLET = regex.compile(r"(?:[-–•*>#]+|\p{Nd}{1,2}[.)]|\([\p{Nd}a-z]{1,2}\))\s+")
#: A sentence ends like one, in any script.
_COMPLETE = regex.compile(r"[\p{SB=STerm}\p{SB=ATerm}][\p{SB=Close}]*$", regex.V1)
#: Code, markup, addresses, citations, definitions of parameters: nothing that is true or false of the field.
_NOT_PROSE = regex.compile(
    r"[_{}\\|`$@#\[\]~^*=]|::|->|\.\.|…|https?:|www\.|\bdoi\b|\bet al\b|\bpp?\. ?\d|%\(|\w\(\w*\)| : |\w/\w+/|--|"
    r"\b\w+\.\w+\.\w+|\b\w+\.(?:py|txt|csv|json|md|yaml|h5|xlsx?)\b|['\"]\w*['\"]|\b[a-z]+[A-Z]\w*"
)
_WORDS = regex.compile(r"\p{L}{2,}")
_QUESTION = regex.compile(r"[??؟;]\s*$")


@dataclass(frozen=True)
class Sentence:
    """``text[start:end]`` of a document; ``context`` is what stands before it there, from the start of a sentence."""

    text: str
    context: str
    start: int
    end: int


def sentences(document: str) -> Iterator[Sentence]:
    """The sentences of a document that can be true or false, in order."""
    bounds = _bounds(document)
    sizes = starts(document)
    for at, (start, end) in enumerate(bounds):
        text = document[start:end]
        if is_statement(text):
            before = [first for first, _ in bounds[:at] if _size(sizes, first, start) <= CONTEXT]
            yield Sentence(text, document[before[0] : start] if before else "", start, end)


def _size(sizes: list[int] | None, start: int, end: int) -> int:
    return end - start if sizes is None else sizes[end] - sizes[start]


def _bounds(document: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, without bullets and the white space around it."""
    found = []
    begin = 0
    for end in [match.end() for match in _END.finditer(document)] + [len(document)]:
        start = begin
        while start < end and document[start].isspace():
            start += 1
        if bullet := _BULLET.match(document, start, end):
            start = bullet.end()
        stop = end
        while stop > start and document[stop - 1].isspace():
            stop -= 1
        if stop > start:
            found.append((start, stop))
        begin = end
    return found


def is_statement(text: str) -> bool:
    """Prose that ends like a sentence, of a fair length, and no question, code, citation or list of parameters."""
    if not SHORTEST <= length(text) <= LONGEST or not _COMPLETE.search(text) or _QUESTION.search(text):
        return False
    if not (text[0].isupper() or text[0].isdigit() or (text[0].isalpha() and not text[0].islower())):
        return False
    if _NOT_PROSE.search(text):
        return False
    letters = sum(character.isalpha() or character.isspace() for character in text)
    spaced = sum(length(word) for word in _WORDS.findall(text)) >= 0.6 * length(text)
    return spaced and letters >= 0.8 * len(text)
