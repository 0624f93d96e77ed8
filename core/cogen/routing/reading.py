"""How much of a text a model's tokenizer can read: what comes out as unknown pieces, or as bare letters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: Above this share of unread letters, a model's embeddings of a text say little. MiniLM leaves 1 to 4 % of the five
#: reference experts' English samples unread, 60 to 99 % of Chinese, Japanese, Russian, Arabic, Thai and Hindi.
UNREAD = 0.2
#: Texts, and characters of each, that are looked at: a share needs no more.
_TEXTS, _CHARACTERS = 64, 2_000
#: A word's letters stand alone where the vocabulary has no piece of that script but its letters.
_WORD = 3


@dataclass(frozen=True)
class Coverage:
    """``pieces`` in all, ``unknown`` of them; ``letters`` in all, ``unread`` of them.

    A letter is unread within an unknown piece, or within a word of at least three letters that has no piece of more
    than one. Han characters are words, not letters: alone they are read.
    """

    pieces: int = 0
    unknown: int = 0
    letters: int = 0
    unread: int = 0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.pieces + other.pieces,
            self.unknown + other.unknown,
            self.letters + other.letters,
            self.unread + other.unread,
        )

    @property
    def unknown_share(self) -> float:
        return self.unknown / self.pieces if self.pieces else 0.0

    @property
    def unread_share(self) -> float:
        return self.unread / self.letters if self.letters else 0.0

    @property
    def poor(self) -> bool:
        return self.unread_share > UNREAD


def reading_of(tokenizer: Any, texts: Iterable[str]) -> Coverage:
    """How well a tokenizer reads texts, by a spread sample of them.

    :param tokenizer: a ``transformers`` fast tokenizer.
    """
    total = Coverage()
    for text in _some(list(texts)):
        text = text[:_CHARACTERS]
        # Tokenizers of embedding models may pad and cut by default.
        encoded = tokenizer(
            text, add_special_tokens=False, padding=False, truncation=False, return_offsets_mapping=True, verbose=False
        )
        total += _count(text, encoded["input_ids"], encoded["offset_mapping"], tokenizer.unk_token_id)
    return total


def _some(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, -(-len(texts) // _TEXTS))]


def _count(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], unknown: int | None) -> Coverage:
    words = _words(text)
    lost: set[int] = set()
    bare: dict[int, set[int]] = {number: set() for number in words if number is not None}
    joined: set[int | None] = set()
    for id, (start, end) in zip(ids, offsets, strict=True):
        letters = [i for i in range(start, end) if words[i] is not None]
        if id == unknown:
            lost.update(letters)
        elif len(letters) > 1:
            joined.update(words[i] for i in letters)
        elif letters:
            bare[words[letters[0]] or 0].add(letters[0])
    for number, letters_of in bare.items():
        if number not in joined and words.count(number) >= _WORD:
            lost.update(i for i in letters_of if not _is_han(text[i]))
    return Coverage(len(ids), sum(id == unknown for id in ids), sum(w is not None for w in words), len(lost))


def _words(text: str) -> list[int | None]:
    """For every character the number of the run of letters that it stands in; None where it is none."""
    found: list[int | None] = []
    number = 0
    for character in text:
        letter = unicodedata.category(character)[0] in "LM"
        number += not letter
        found.append(number if letter else None)
    return found


def _is_han(character: str) -> bool:
    return unicodedata.name(character, "").startswith("CJK")
