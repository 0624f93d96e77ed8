"""Words and lengths in any script: what n-grams count, and how much text a character carries.

Most scripts put a space between words. Chinese, Japanese, Thai, Lao, Khmer, Burmese and a few others do not, and which
characters make a word there only a dictionary knows. So a *unit* is a word where words are separated, else a character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate

import regex

from cogen.text.fold import fold

#: A word of a script that separates words, in sixths of a word. An English word with its space has six letters.
WORD = 6
_HAN_KANA = r"\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{scx=Yiii}\p{scx=Tang}\p{scx=Nshu}"
_SOUTH_EAST = r"\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Lana}\p{scx=Talu}\p{scx=Tale}\p{scx=Tavt}"
_SOUTH_EAST += r"\p{scx=Java}\p{scx=Bali}"
#: Characters of the scripts that do not separate words, for a set of the ``regex`` library.
LETTERS_UNSPACED = _HAN_KANA + _SOUTH_EAST
_UNSPACED = regex.compile(rf"[[{LETTERS_UNSPACED}]&&[\w]]", regex.V1)
_SE_ASIAN = regex.compile(rf"[{_SOUTH_EAST}]", regex.V1)
_UNIT = regex.compile(rf"[[{LETTERS_UNSPACED}]&&[\w--\p{{M}}]]\p{{M}}*|[\w--[{LETTERS_UNSPACED}]]+", regex.V1)
_LATIN_WORD = re.compile(r"\w+")
_MARK = regex.compile(r"\p{M}")
_HAN = regex.compile(r"\p{Script=Han}")
_WIDE = regex.compile(r"[\p{Script=Han}\p{Script=Hira}\p{Script=Kana}\p{Script=Hang}]")


def is_unspaced(text: str) -> bool:
    """Does the text hold letters of a script that does not separate words?"""
    return not text.isascii() and _UNSPACED.search(text) is not None


def unspaced_share(text: str) -> float:
    """Share of the text's letters whose script does not separate words; 0 … 1."""
    if text.isascii():
        return 0.0
    letters = sum(map(str.isalpha, text))
    return len(_UNSPACED.findall(text)) / letters if letters else 0.0


def words(text: str) -> list[str]:
    """The units of a text as it is compared: words, single characters where words are not separated.

    The same in any spelling (:func:`cogen.text.fold.fold`): case, width, joiners, vowel points. Punctuation plays no
    part. A text without any letter or digit gives its other characters: of it, too, a copy is found.
    """
    folded = fold(text)
    plain = folded.isascii() or not (_UNSPACED.search(folded) or _MARK.search(folded))
    found = _LATIN_WORD.findall(folded) if plain else _UNIT.findall(folded)
    return found or [character for character in folded if not character.isspace()]


def weights(units: list[str]) -> list[int]:
    """What each unit counts, in sixths of a word (:data:`WORD`).

    A Chinese or Japanese character counts two thirds of a word, so that a run of 12 has the weight of 8 words; a
    character of Thai and its neighbours one third.
    """
    return [_weight(unit) for unit in units]


@lru_cache(maxsize=1 << 16)
def _weight(unit: str) -> int:
    if unit.isascii() or not _UNSPACED.match(unit):
        return WORD
    return 2 if _SE_ASIAN.match(unit) else 4


def starts(text: str) -> list[int] | None:
    """Length of each prefix of the text in Latin letters (``len(text) + 1`` numbers), or None where all count one.

    A Han character carries about as much as three Latin letters, one of kana or Hangul as much as two; what is
    measured in characters (``min_characters``, ``max_characters``) is measured in these.
    """
    if text.isascii() or not _WIDE.search(text):
        return None
    return list(accumulate(map(_letters, text), initial=0))


@lru_cache(maxsize=1 << 16)
def _letters(character: str) -> int:
    if not _WIDE.match(character):
        return 1
    return 3 if _HAN.match(character) else 2


def length(text: str) -> int:
    """Length of a text in Latin letters; see :func:`starts`."""
    found = starts(text)
    return len(text) if found is None else found[-1]
