"""Which tokens of two vocabularies stand for the same bytes, and what the others are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: Pieces of a token that are looked at, and the share of each: X-Token's 0.9 · 0.1ⁱ (arXiv:2605.21699).
PIECES = 4
_FIRST, _DECAY = 0.9, 0.1
#: Tokens of the student that one of the teacher's may begin with, and how often the map by bytes counts as seen.
BEGINNINGS, _GUESS = 4, 0.5

Tokens = Sequence[bytes | None]


def matches(student: Tokens, teacher: Tokens) -> np.ndarray:
    """The student's token of the same bytes for every token of the teacher, shape (V_t,), int64; -1: none.

    Compared are bytes, not how a family writes them: ``Ġthe`` and ``▁the`` are the same (with raw strings two
    families have next to nothing in common). Of several tokens with the same bytes the first counts.
    """
    known: dict[bytes, int] = {}
    for id, token in enumerate(student):
        if token:
            known.setdefault(token, id)
    return np.array([known.get(token, -1) if token else -1 for token in teacher], dtype=np.int64)


def projection(
    student: Tokens, teacher: Tokens, encode: Callable[[list[str]], list[list[int]]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X-Token's map of the student's vocabulary to the teacher's: rows, columns and shares, each of shape (nonzeros,).

    A token with the same bytes gets all; the others are cut by the teacher's tokenizer, and the first four pieces get
    shares of 0.9, 0.09 …, which add up to one. Tokens that are no text of their own (a part of a character) and
    special ones are mapped to nothing.

    :param encode: texts → the teacher's ids, without special tokens.
    """
    back = matches(teacher, student)
    exact = np.flatnonzero(back >= 0)
    rest = [id for id, token in enumerate(student) if token and back[id] < 0 and _text(token) is not None]
    pieces = encode([_text(student[id]) or "" for id in rest])  # type: ignore[arg-type]
    rows, columns, shares = [exact], [back[exact]], [np.ones(len(exact))]
    for id, ids in zip(rest, pieces, strict=True):
        kept = ids[:PIECES]
        if kept:
            weights = _FIRST * _DECAY ** np.arange(len(kept))
            rows.append(np.full(len(kept), id))
            columns.append(np.array(kept, dtype=np.int64))
            shares.append(weights / weights.sum())
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(shares).astype(np.float32)


def first_pieces(student: Tokens, teacher: Tokens, encode: Callable[[list[str]], list[list[int]]]) -> np.ndarray:
    """The student's token that begins each of the teacher's, shape (V_t,), int64; -1: none.

    The token of the same bytes, or else the first piece that the student's tokenizer cuts it into: what the student
    predicts where the teacher predicts that token. Parts of characters and special tokens have none.

    :param encode: texts → the student's ids, without special tokens.
    """
    found = matches(student, teacher)
    rest = [id for id, token in enumerate(teacher) if token and found[id] < 0 and _text(token) is not None]
    for id, ids in zip(rest, encode([_text(teacher[id]) or "" for id in rest]), strict=True):  # type: ignore[arg-type]
        token = student[ids[0]] if ids else None
        if token and (teacher[id] or b"").startswith(token):  # not where the tokenizer changes what it reads
            found[id] = ids[0]
    return found


def estimate_first_pieces(first: np.ndarray, own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The student's tokens for each of the teacher's, estimated from both tokenizations of real texts.

    A tokenizer does not always write bytes as its vocabulary could: many cut ``\\n\\n`` before a word into two, and
    ``'s`` is one token of the student where the teacher has ``'`` and goes on. A map by bytes alone would have the
    student unlearn its own tokens there. What stands in the map counts as :data:`_GUESS` observations.

    :param first: as :func:`first_pieces` gives it, shape (V_t,).
    :param own, other: the student's and the teacher's token at the start of each chunk, shape (n,).
    :returns: up to :data:`BEGINNINGS` tokens of the student, likeliest first, int64, -1 for none; and the share of
        each, float32, adding up to one where these are all; shape (V_t, BEGINNINGS).
    """
    known = np.flatnonzero(first >= 0)
    pairs = np.concatenate([np.stack([other, own], 1), np.stack([known, first[known]], 1)]).astype(np.int64)
    weights = np.concatenate([np.ones(len(own)), np.full(len(known), _GUESS)])
    pairs, place = np.unique(pairs, axis=0, return_inverse=True)
    counts = np.bincount(place.reshape(-1), weights, len(pairs))
    total = np.bincount(pairs[:, 0], counts, len(first))
    order = np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))
    pairs, counts = pairs[order], counts[order]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
    pairs, counts, rank = (one[rank < BEGINNINGS] for one in (pairs, counts, rank))
    tokens = np.full((len(first), BEGINNINGS), -1, dtype=np.int64)
    shares = np.zeros((len(first), BEGINNINGS), dtype=np.float32)
    tokens[pairs[:, 0], rank] = pairs[:, 1]
    shares[pairs[:, 0], rank] = counts / total[pairs[:, 0]]
    return tokens, shares


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


class Nearest:
    """FuseLLM's map: the student's token of the same bytes, else of the least edit distance; looked up when asked for.

    Distances are of bytes without a leading space. Only tokens of nearly the same length are compared: a distance is
    at least the difference of lengths.
    """

    def __init__(self, student: Tokens, teacher: Tokens) -> None:
        self._found: dict[int, int] = {}
        self._exact = matches(student, teacher)
        self._teacher = teacher
        by_length: dict[int, list[int]] = {}
        self._words = [(token or b"").lstrip(b" ") for token in student]
        for id, word in enumerate(self._words):
            if word and len(word) < 32:
                by_length.setdefault(len(word), []).append(id)
        self._ids = {length: np.array(ids) for length, ids in by_length.items()}
        self._letters = {
            length: np.frombuffer(b"".join(self._words[id] for id in ids), dtype=np.uint8).reshape(-1, length)
            for length, ids in by_length.items()
        }

    def of(self, teacher_id: int) -> int:
        """The student's token; -1 for special tokens."""
        if teacher_id >= len(self._exact):
            return -1
        if self._exact[teacher_id] >= 0:
            return int(self._exact[teacher_id])
        if teacher_id not in self._found:
            token = self._teacher[teacher_id]
            self._found[teacher_id] = -1 if token is None else self._search(token.lstrip(b" "))
        return self._found[teacher_id]

    def _search(self, word: bytes) -> int:
        best, found = len(word) + 1, -1
        for length in sorted(self._ids, key=lambda length: abs(length - len(word))):
            if abs(length - len(word)) >= best:
                break
            distances = _distances(np.frombuffer(word, dtype=np.uint8), self._letters[length])
            place = int(distances.argmin())
            if distances[place] < best:
                best, found = int(distances[place]), int(self._ids[length][place])
        return found


def _distances(word: Any, others: Any) -> Any:
    """Levenshtein's distance of one word to many of the same length, shape (n,)."""
    n, length = others.shape
    before = np.tile(np.arange(length + 1), (n, 1))
    for i, letter in enumerate(word, 1):
        now = np.empty_like(before)
        now[:, 0] = i
        for j in range(1, length + 1):
            swap = before[:, j - 1] + (others[:, j - 1] != letter)
            now[:, j] = np.minimum(np.minimum(before[:, j], now[:, j - 1]) + 1, swap)
        before = now
    return before[:, -1]
