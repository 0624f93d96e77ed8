"""How tokenizers write bytes in the names of their tokens: so that ``Ġthe`` and ``▁the`` are known to be one token."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal

#: "bytes": every byte is one character (GPT-2); "space": text with ``▁`` for a space (SentencePiece); "text": as it is.
Alphabet = Literal["bytes", "space", "text"]

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@functools.cache
def byte_characters() -> dict[str, int]:
    """GPT-2's character for every byte: printable Latin-1 stands for itself, the others follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    for byte in range(256):
        if byte not in printable:
            table[chr(0x100 + len(table) - len(printable))] = byte
    return table


def alphabet_of(backend: dict[str, Any]) -> Alphabet:
    """From the steps of a ``tokenizer.json``."""
    steps = [backend.get("pre_tokenizer"), backend.get("decoder"), backend.get("normalizer")]
    kinds = set()
    while steps:
        step = steps.pop()
        if isinstance(step, dict):
            kinds.add("Metaspace" if "▁" in (step.get("content"), step.get("prepend")) else step.get("type"))
            for part in ("pretokenizers", "decoders", "normalizers"):
                steps.extend(step.get(part) or [])
    if "Metaspace" in kinds:
        return "space"
    return "bytes" if "ByteLevel" in kinds else "text"


def token_bytes(token: str, alphabet: Alphabet) -> bytes:
    """The bytes of the text that an ordinary token (not an added one) stands for.

    An ASCII character as a SentencePiece byte (``<0x41>``) keeps its name: ``A`` is another token.
    """
    if alphabet == "bytes":
        table = byte_characters()
        if all(character in table for character in token):
            return bytes(table[character] for character in token)
    elif alphabet == "space":
        match = _BYTE.fullmatch(token)
        if match and int(match[1], 16) > 0x7F:
            return bytes([int(match[1], 16)])
        return token.replace("▁", " ").encode()
    return token.encode(errors="surrogatepass")


def token_text(data: bytes, alphabet: Alphabet) -> str | None:
    """The opposite: ``data`` in the characters of a tokenizer's model; None where it has no way to write it."""
    if alphabet == "bytes":
        names = {byte: character for character, byte in byte_characters().items()}
        return "".join(names[byte] for byte in data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text.replace(" ", "▁") if alphabet == "space" else text
