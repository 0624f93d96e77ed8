"""The form of a word: case, digits, and the ending, which often shows number, tense and part of speech."""

from __future__ import annotations

from cogen.text.scripts import is_unspaced

#: Of words in Latin letters; words of other scripts have no ending here.
_ENDINGS = ("ing", "ed", "ly", "ous", "al", "ic", "ive", "able", "ible", "ss", "us", "is")


def shape(word: str) -> tuple[bool, bool, bool, bool, str]:
    """Capitals only, a capital first, several capitals, a digit or hyphen; and of other words the ending."""
    letters = [character for character in word if character.isalpha()]
    capitals = len(letters) > 1 and all(character.isupper() for character in letters)
    ending = "" if capitals or is_unspaced(word) else _ending(word)
    several = sum(map(str.isupper, letters)) > 1
    return capitals, word[0].isupper(), several, any(not character.isalpha() for character in word), ending


def _ending(word: str) -> str:
    return next((ending for ending in _ENDINGS if word.endswith(ending)), "s" if word.endswith("s") else "")
