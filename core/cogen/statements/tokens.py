"""Tokens of a text with their places: words, numbers, and single marks, in any script.

Where words are not separated, a token is a term of the field (:mod:`cogen.statements.terms`), else one character with
its marks: which characters make a word there only a dictionary knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

import regex

from cogen.text.scripts import LETTERS_UNSPACED

#: Characters of a term in a script that does not separate words, at most.
LONGEST = 6
_TOKEN = regex.compile(
    rf"(?P<run>(?:[[{LETTERS_UNSPACED}]&&\p{{L}}]\p{{M}}*)+)"
    rf"|(?P<number>\p{{Nd}}++(?:[.,]\p{{Nd}}++)*+)(?![[\p{{L}}_]--[{LETTERS_UNSPACED}]])"
    rf"|(?P<word>[\p{{L}}\p{{N}}_--[{LETTERS_UNSPACED}]][\w--[{LETTERS_UNSPACED}]]*"
    rf"(?:[-'’.][[\p{{L}}\p{{N}}_]--[{LETTERS_UNSPACED}]][\w--[{LETTERS_UNSPACED}]]*)*)"
    r"|(?P<mark>[^\s\w])|(?P<other>\S)",
    regex.V1,
)
_UNIT = regex.compile(r"\p{L}\p{M}*")


@dataclass(frozen=True)
class Token:
    """``text[start:end]`` of the text that it was found in. ``kind``: word, number, term (unspaced) or mark."""

    text: str
    start: int
    end: int
    kind: str

    @property
    def key(self) -> str:
        """What tokens are counted and compared by: lower case, and every number alike."""
        return "0" if self.kind == "number" else self.text.lower()


def runs(text: str) -> Iterator[tuple[int, str]]:
    """(start, run) of each run of letters of a script that does not separate words."""
    return ((match.start(), match["run"]) for match in _TOKEN.finditer(text) if match["run"])


def letters(run: str) -> list[str]:
    """The letters of a run, each with its marks."""
    return _UNIT.findall(run)


def tokens(text: str, known_terms: Set[str] = frozenset()) -> list[Token]:
    """All tokens in order; nothing but white space is left out.

    :param known_terms: terms of scripts that do not separate words; the longest one that fits is taken.
    """
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "run":
            found += _of_run(match[0], match.start(), known_terms)
        else:
            found.append(Token(match[0], match.start(), match.end(), "mark" if kind == "other" else kind))
    return found


def _of_run(run: str, start: int, known_terms: Set[str]) -> Iterator[Token]:
    units = letters(run)
    at = 0
    while at < len(units):
        size = next(
            (n for n in range(min(LONGEST, len(units) - at), 1, -1) if "".join(units[at : at + n]) in known_terms), 1
        )
        text = "".join(units[at : at + size])
        yield Token(text, start, start + len(text), "term" if size > 1 else "mark")
        at, start = at + size, start + len(text)
