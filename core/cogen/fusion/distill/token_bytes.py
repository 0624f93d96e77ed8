"""The bytes that every token of a vocabulary stands for, whatever its family writes them like."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import numpy as np

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """Bytes by id; ``None`` for special tokens and for ids without a token.

    ``Ġthe`` of a byte-level vocabulary, ``▁the`` of SentencePiece and ``the`` of WordPiece all are ``b" the"``;
    ``<0xE2>`` is one byte; ``##ing`` is ``b"ing"``.
    """
    write = _writer(json.loads(tokenizer.backend_tokenizer.to_str()))
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    found: list[bytes | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    added = tokenizer.added_tokens_decoder
    for token, id in vocabulary.items():
        if id in added:
            found[id] = None if added[id].special else added[id].content.encode()
        else:
            found[id] = write(token)
    return found


def begins_word(tokens: list[bytes | None]) -> np.ndarray:
    """Which tokens begin a word: with a space, a tab or an end of line, or as special ones; shape (vocabulary,), bool.

    tokenkit's rule for debiasing (its ``space_mask``): behind such a token another one cannot change how what came
    before was cut into tokens.
    """
    return np.array([token is None or token[:1] in (b" ", b"\n", b"\t", b"\r") for token in tokens])


def _writer(backend: dict[str, Any]) -> Any:
    parts = json.dumps([backend.get("decoder"), backend.get("pre_tokenizer")])
    if '"ByteLevel"' in parts:
        return _byte_level
    if backend["model"].get("type") == "WordPiece":
        prefix = backend["model"].get("continuing_subword_prefix", "##")
        return lambda token: token[len(prefix) :].encode() if token.startswith(prefix) else b" " + token.encode()
    if "▁" in json.dumps([backend.get("decoder"), backend.get("pre_tokenizer"), backend.get("normalizer")],
                         ensure_ascii=False):  # fmt: skip
        return _sentencepiece
    return str.encode


def _sentencepiece(token: str) -> bytes:
    match = _BYTE.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace("▁", " ").encode()


def _byte_level(token: str) -> bytes | None:
    table = _table()
    try:
        return bytes(table[character] for character in token)
    except KeyError:  # no token of this alphabet: it is never produced
        return token.encode()


@functools.cache
def _table() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for letters from U+0100 on."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in own}
    rest = [byte for byte in range(256) if byte not in own]
    return table | {chr(256 + n): byte for n, byte in enumerate(rest)}
