"""Xorbs and shards by hand, for those that no client makes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: "HFRepoMetaData", and bytes that say that a shard follows.
TAG = b"HFRepoMetaData" + bytes([0, 85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169])
BOOKEND = b"\xff" * 32 + bytes(16)


def raw(hexed: str) -> bytes:
    """The bytes of a hash that is written as four numbers of 64 bits."""
    return b"".join(bytes.fromhex(hexed[at : at + 16])[::-1] for at in range(0, 64, 16))


def header(packed: int, scheme: int, size: int) -> bytes:
    return bytes([0]) + packed.to_bytes(3, "little") + bytes([scheme]) + size.to_bytes(3, "little")


def chunk(data: bytes, scheme: int = 0, size: int | None = None) -> bytes:
    """:param size: What its header says, if that is not the truth."""
    import lz4.frame

    packed = data
    if scheme == 2:
        packed = b"".join(data[place::4] for place in range(4))
    if scheme:
        packed = lz4.frame.compress(packed)
    return header(len(packed), scheme, len(data) if size is None else size) + packed


#: (name of a xorb, first chunk, last chunk + 1, bytes of them)
Term = tuple[str, int, int, int]


def file(content: bytes | str, terms: Sequence[Term], verified: bool = True, sha256: bool = True) -> bytes:
    """One file of a shard.

    :param content: The bytes, or their SHA-256.
    """
    digest = content if isinstance(content, str) else hashlib.sha256(content).hexdigest()
    flags = (verified << 31) | (sha256 << 30)
    parts = [bytes(32) + flags.to_bytes(4, "little") + len(terms).to_bytes(4, "little") + bytes(8)]
    for name, start, stop, size in terms:
        parts.append(raw(name) + b"".join(one.to_bytes(4, "little") for one in (0, size, start, stop)))
    parts += [bytes(48)] * (len(terms) if verified else 0)
    parts += [raw(digest) + bytes(16)] if sha256 else []
    return b"".join(parts)


def shard(*files: bytes) -> bytes:
    return TAG + (2).to_bytes(8, "little") + bytes(8) + b"".join(files) + BOOKEND + BOOKEND
