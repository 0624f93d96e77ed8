"""Runs of words that two texts have in common: how copies, duplicates and leaks are found, in any language.

One measure everywhere: a run is as long as so many words. Where a script does not separate words it is as many
characters as weigh the same (:func:`cogen.text.scripts.weights`): 8 words are 12 Chinese characters or 24 Thai ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import regex

from cogen.text.scripts import LETTERS_UNSPACED, WORD, weights, words

#: Words of a run by which near-copies and overlap are counted.
RUN = 8
_BETWEEN = regex.compile(rf"(?<=[{LETTERS_UNSPACED}]\p{{M}}*) (?=[{LETTERS_UNSPACED}])", regex.V1)


def ngrams(text: str, count: int = RUN) -> set[int]:
    """CRC-32 of every run of ``count`` words. A shorter text is one gram."""
    units = words(text)
    found = {zlib.crc32(run.encode()) for run in runs(units, count)}
    return found or {zlib.crc32(" ".join(units).encode())}


def overlap(text: str, known: set[int], count: int = RUN) -> float:
    """Share of the text's grams that are in ``known``; 0 … 1."""
    grams = ngrams(text, count)
    return len(grams & known) / len(grams)


def has_run(text: str, count: int = RUN) -> bool:
    """Is the text long enough to hold a run? Of a shorter one only a copy as a whole is found, not inside another."""
    return next(runs(words(text), count), None) is not None


def runs(units: list[str], count: int = RUN) -> Iterator[str]:
    """Every shortest run of units that weighs ``count`` words, joined by single spaces."""
    weight = weights(units)
    if all(one == WORD for one in weight):
        yield from windows(units, count)
        return
    end = total = 0
    for start, own in enumerate(weight):
        while total < count * WORD and end < len(units):
            total += weight[end]
            end += 1
        if total < count * WORD:
            return
        yield " ".join(units[start:end])
        total -= own


def windows(units: list[str], count: int) -> Iterator[str]:
    """Every run of exactly ``count`` units, joined by single spaces: to look for a whole text inside another."""
    return (" ".join(units[i : i + count]) for i in range(len(units) - count + 1))


def readable(run: str) -> str:
    """A run as one reads it: no spaces where the script puts none."""
    return _BETWEEN.sub("", run)


def union(texts: Iterable[str], count: int = RUN) -> set[int]:
    """The grams of all texts."""
    found: set[int] = set()
    for text in texts:
        found |= ngrams(text, count)
    return found
