"""What can be seen of an answer without knowing whether it is right: did it end, does it loop, in which language is it.

Plain functions of text, without a model and without a dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

#: An answer loops when at least this share of its 4-grams stood in it before.
LOOPS = 0.3
#: Fewer 4-grams than this say nothing about loops.
_FEW = 8
#: Scripts of the languages that a question can be in; of any other language nothing is said.
_SCRIPTS = {
    "ar": ("ARABIC",),
    "en": ("LATIN",),
    "hi": ("DEVANAGARI",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ko": ("HANGUL",),
    "ru": ("CYRILLIC",),
    "th": ("THAI",),
    "zh": ("CJK",),
}
#: A run of letters and digits; of scripts that are written without spaces every character is one of its own.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True)
class Judged:
    """One answer. ``repeated``: share of its 4-grams that stood in it before, 0 to 1."""

    ended: bool
    repeated: float
    loops: bool
    same_language: bool

    @property
    def well_formed(self) -> bool:
        """Ended by itself, without a loop, in the language of the question. Not: right."""
        return self.ended and not self.loops and self.same_language


def judge(answer: str, language: str, ended: bool) -> Judged:
    """
    :param language: of the question, ISO 639-1.
    :param ended: whether the model ended the answer itself.
    """
    grams, repeated = repeated_share(answer)
    return Judged(ended, repeated, grams >= _FEW and repeated >= LOOPS, in_language(answer, language))


def repeated_share(text: str) -> tuple[int, float]:
    """(number of 4-grams of words, share of them that stood in the text before)."""
    words = _WORD.findall(text.casefold())
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(grams), (1 - len(set(grams)) / len(grams)) if grams else 0.0


def in_language(text: str, language: str) -> bool:
    """At least half of the letters are of the language's script; a text without letters is, if it has a digit.

    English is told from other languages in Latin letters no further.
    """
    scripts = _SCRIPTS.get(language)
    if scripts is None:
        return True
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return any(c.isdigit() for c in text)
    own = sum(unicodedata.name(c, "").startswith(scripts) for c in letters)
    if language == "zh" and any(unicodedata.name(c, "").startswith(("HIRAGANA", "KATAKANA")) for c in letters):
        return False
    return own >= 0.5 * len(letters)
