"""Words of scripts that put no spaces between them, as full text searches them: every character, and every two.

FTS5 and tsvector take a run of Chinese for one word: 传染病 would not be found in 传染病防治法. What stands in such a
script is therefore indexed, and searched for, in overlapping pairs (bigrams): 传染, 染病, 病防 and so on.
"""

from __future__ import annotations

import re

#: Han, kana, Hangul (whose particles join their words), Thai, Lao, Burmese, Khmer.
_RUN = re.compile(
    "["
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    "]+"
)
#: Begins the line of pairs in an expert's text: no embedding model reads on from here.
MARK = "\N{INVISIBLE SEPARATOR}"


def is_run(word: str) -> bool:
    """Does it consist of characters of those scripts alone? Then it may begin and end anywhere in a text."""
    return _RUN.fullmatch(word) is not None


def words(text: str) -> list[str]:
    """Words in order, lower case; runs of the scripts above as pairs, or as the one character that they are."""
    found: list[str] = []
    for word in re.findall(r"\w+", _RUN.sub(lambda run: f" {run[0]} ", text.casefold())):
        found += _pairs(word) if is_run(word) else [word]
    return found


def with_pairs(text: str) -> str:
    """The text, and on one more line each character and pair of its runs, for full-text search alone."""
    runs = [run for run in _RUN.findall(text.casefold()) if run]
    found = dict.fromkeys(piece for run in runs for piece in [*run, *_pairs(run)])
    return f"{text}\n{MARK}{' '.join(found)}" if found else text


def without_pairs(text: str) -> str:
    """What :func:`with_pairs` was given."""
    return text.partition(f"\n{MARK}")[0]


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]
