"""The bytes that every token of a vocabulary stands for, whatever its family writes them like."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_Writer = Callable[[str], bytes]


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """Bytes by id; ``None`` for special tokens and for ids without a token.

    ``Ġthe`` of a byte-level vocabulary, ``▁the`` of SentencePiece and ``the`` of WordPiece all are ``b" the"``;
    ``<0xE2>`` is one byte, if the model falls back to bytes; ``##ing`` is ``b"ing"``.
    """
    write, write_added = _writers(json.loads(tokenizer.backend_tokenizer.to_str()))
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    found: list[bytes | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    added = tokenizer.added_tokens_decoder
    for token, id in vocabulary.items():
        if id in added:
            found[id] = None if added[id].special else write_added(added[id].content)
        else:
            found[id] = write(token)
    return found


def begins_word(tokens: list[bytes | None]) -> np.ndarray:
    """Which tokens begin a word: with a space, a tab or an end of line, or as special ones; shape (vocabulary,), bool.

    tokenkit's rule for debiasing (its ``space_mask``, which leaves out the carriage return): no token goes on over such
    a place, so a text that ends there is cut as it would be in any longer one.
    """
    return np.array([token is None or token[:1] in (b" ", b"\n", b"\t", b"\r") for token in tokens])


def _writers(backend: dict[str, Any]) -> tuple[_Writer, _Writer]:
    """What a token of the model, and an added one, stands for."""
    parts = json.dumps([backend.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")], ensure_ascii=False)
    model = backend["model"]
    if '"ByteLevel"' in parts:
        return _byte_level, str.encode
    if model.get("type") == "WordPiece":
        prefix = model.get("continuing_subword_prefix", "##")
        return functools.partial(_wordpiece, prefix), str.encode
    if "▁" in parts:
        # Gemma's tokens of several spaces are added ones too, and merges lead to them.
        write = _sentencepiece if model.get("byte_fallback") else _with_spaces
        return write, write
    return str.encode, str.encode


def _wordpiece(prefix: str, token: str) -> bytes:
    return token[len(prefix) :].encode() if token.startswith(prefix) else b" " + token.encode()


def _with_spaces(token: str) -> bytes:
    return token.replace("▁", " ").encode()


def _sentencepiece(token: str) -> bytes:
    match = _BYTE.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else _with_spaces(token)


def _byte_level(token: str) -> bytes:
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
