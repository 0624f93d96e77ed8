"""At which byte of a text each of its tokens ends.

A boundary must never be claimed too early: an aligner would then compare two models of which one has read more. So
where it is not known how bytes of a text are spread over several tokens, all but the last of these get none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np


def by_bytes(text: bytes, tokens: Sequence[bytes], sizes: np.ndarray) -> np.ndarray | None:
    """Sums of the tokens' own sizes, if the tokens written together are the text; else ``None``.

    One space before the text is allowed: SentencePiece and WordPiece put it there.

    :param sizes: of the tokens, in bytes, shape (n,).
    :return: shape (n,), int32.
    """
    extra = _space_before(text, b"".join(tokens))
    if extra is None:
        return None
    ends: np.ndarray = np.maximum(np.cumsum(sizes) - extra, 0).astype(np.int32)
    return ends


def by_offsets(text: str, tokens: Sequence[bytes], offsets: np.ndarray) -> np.ndarray:
    """From character offsets, for tokenizers that change a text (case, accents, spaces, unknown words).

    Tokens that share a character, or a letter and its accents, are taken together. If they write these bytes as they
    are, each ends where its own bytes end; else the last one has all bytes of them and the others have none.

    What a tokenizer drops belongs to the token before it, white space to the one behind it: an accent that was put
    together with its letter has no token, and offsets name only the letter.

    :param tokens: what each stands for; only used where it agrees with the text.
    :param offsets: first character and the one behind the last, shape (n, 2).
    :return: shape (n,), int32.
    """
    if not len(offsets):
        return np.zeros(0, dtype=np.int32)
    whole = text.encode()
    at = _byte_of_character(whole)
    starts, stops = offsets[:, 0], _with_dropped(text, offsets)
    last = np.append(_cuts(text, whole, tokens, at, starts, stops), len(tokens) - 1)
    first = np.concatenate([[0], last[:-1] + 1])
    ends = np.zeros(len(tokens), dtype=np.int64)
    ends[last] = np.maximum.accumulate(at[stops[last]])
    for begin, end in zip(*(side[first < last].tolist() for side in (first, last)), strict=True):
        before = int(ends[begin - 1]) if begin else 0
        start = int(at[starts[begin]])
        own = tokens[begin : end + 1]
        extra = _space_before(whole[start : ends[end]], b"".join(own))
        if extra is None:
            ends[begin:end] = before
        else:
            ends[begin:end] = np.maximum(start - extra + np.cumsum([len(token) for token in own[:-1]]), before)
    return ends.astype(np.int32)


def _space_before(text: bytes, joined: bytes) -> int | None:
    """Bytes that ``joined`` has before the text: none or a space; ``None``: it is another text."""
    extra = len(joined) - len(text)
    return extra if extra in (0, 1) and joined.endswith(text) and joined[:extra] in (b"", b" ") else None


def _byte_of_character(whole: bytes) -> np.ndarray:
    """Byte at which every character begins, and the length: shape (characters + 1,)."""
    # All bytes but 10xxxxxx begin a character.
    begins = (np.frombuffer(whole, dtype=np.uint8) & 0xC0) != 0x80
    found: np.ndarray = np.append(np.flatnonzero(begins), len(whole))
    return found


def _with_dropped(text: str, offsets: np.ndarray) -> np.ndarray:
    """The character behind each token, with what was dropped behind it up to white space."""
    stops = np.maximum.accumulate(offsets[:, 1])
    spaces = np.append(np.flatnonzero(_among(text, str.isspace)), len(text))
    limit = np.minimum(spaces[np.searchsorted(spaces, stops)], np.append(offsets[1:, 0], len(text)))
    found: np.ndarray = np.maximum(stops, limit)
    return found


def _cuts(
    text: str, whole: bytes, tokens: Sequence[bytes], at: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> np.ndarray:
    """Tokens that share no character, and no letter with accents, with the one behind them."""
    clean = starts[1:] >= stops[:-1]
    joins = np.append(_among(text, _joins), False)
    # Composing also changes the order of accents, so what is before one is known only from unchanged tokens.
    for place in np.flatnonzero(clean & joins[stops[:-1]]).tolist():
        clean[place] = all(
            _space_before(whole[at[starts[token]] : at[stops[token]]], tokens[token]) is not None
            for token in (place, place + 1)
        )
    return np.flatnonzero(clean)


def _among(text: str, asked: Callable[[str], bool]) -> np.ndarray:
    """Is the character of this kind? Shape (characters,), bool."""
    found = [ord(character) for character in set(text) if asked(character)]
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    return np.isin(codes, np.array(found, dtype=np.uint32)) if found else np.zeros(len(codes), dtype=bool)


def _joins(character: str) -> bool:
    """May it be put together with the one before it? Accents, vowel signs, the letters in a Korean syllable."""
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff"
