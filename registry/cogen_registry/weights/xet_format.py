"""Xet's two formats, as clients upload them: xorbs hold compressed chunks, shards say which chunks make up a file.

Both are written by strangers, so every length is checked before it is used.
Specification: https://github.com/huggingface/xet-core/tree/main/spec (xorb.md, shard.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from cogen_registry.weights.answers import hub_error

#: "there is a limit of 64MiB on the total size of the Xorb as serialized"; room for a footer.
XORB = 66 << 20
#: The specification says 128 KiB at most.
CHUNK = 1 << 20
CHUNKS = 16_384
_FOOTER = b"XETBLOB"
_ENTRY = np.dtype([("xorb", "V32"), ("flags", "<u4"), ("size", "<u4"), ("start", "<u4"), ("stop", "<u4")])
_RECORD = 48
_TAG = b"HFRepoMetaData"
_VERIFIED, _EXTENDED = 1 << 31, 1 << 30
#: (offset in the xorb's file, packed size, scheme, unpacked size) of each chunk.
TABLE = np.dtype([("offset", "<u4"), ("packed", "<u4"), ("scheme", "u1"), ("size", "<u4")])


def hexed(raw: bytes) -> str:
    """ "consider each 8 byte part of a hash as a little endian 64 bit unsigned integer"."""
    return "".join(raw[at : at + 8][::-1].hex() for at in range(0, 32, 8))


def chunk_table(file: BinaryIO) -> np.ndarray:
    """Where the chunks of a xorb are, shape (chunks,) of ``TABLE``; their bytes are not read.

    :raises Refused: 400, it is cut off, or has more or larger chunks than any client makes.
    """
    length = os.fstat(file.fileno()).st_size
    rows: list[tuple[int, int, int, int]] = []
    at = total = 0
    while at < length:
        file.seek(at)
        head = file.read(8)
        if head.startswith(_FOOTER):
            break
        packed, size = int.from_bytes(head[1:4], "little"), int.from_bytes(head[5:8], "little")
        at += 8
        if len(head) < 8 or head[0] != 0 or head[4] > 2 or at + packed > length:
            raise hub_error(400, "this xorb is cut off or of an unknown kind", "upload it again")
        total += size
        if not 0 < size <= CHUNK or total > XORB or len(rows) == CHUNKS:
            raise hub_error(400, "this xorb unpacks to more than the limit", "upload with `hf upload`")
        rows.append((at, packed, head[4], size))
        at += packed
    return np.array(rows, TABLE)


def unpacked(data: bytes, scheme: int, size: int) -> bytes:
    """One chunk.

    :param scheme: 0 as it is, 1 LZ4, 2 LZ4 of bytes that are grouped by their place in four.
    :raises Refused: 400, it has another size than its header says; no more than that is unpacked.
    """
    if scheme:
        import lz4.frame

        packed, reader = data, lz4.frame.LZ4FrameDecompressor()
        try:
            data = reader.decompress(packed, max_length=size + 1)
        except RuntimeError:
            data = b""
    if len(data) != size:
        raise hub_error(400, "a chunk unpacks to another size than it says", "upload again")
    if scheme == 2:
        grouped, plain, at = np.frombuffer(data, np.uint8), np.empty(size, np.uint8), 0
        for place in range(4):
            count = len(plain[place::4])
            plain[place::4] = grouped[at : at + count]
            at += count
        data = plain.tobytes()
    return data


@dataclass(frozen=True)
class ShardFile:
    """A file that a shard describes. ``terms``: shape (terms,): ``xorb``, ``size``, ``start``, ``stop``."""

    sha256: str
    size: int
    terms: np.ndarray


def files_of(shard: bytes) -> Iterator[ShardFile]:
    """The files of a shard, in its order.

    :raises Refused: 400, it is cut off, or a file has no sha256.
    """
    if len(shard) < _RECORD or not shard.startswith(_TAG) or int.from_bytes(shard[32:40], "little") != 2:
        raise hub_error(400, "this is not a shard", "upload with `hf upload`")
    at = _RECORD
    while True:
        head = shard[at : at + _RECORD]
        at += _RECORD
        if len(head) < _RECORD:
            raise hub_error(400, "this shard is cut off", "upload it again")
        if head[:32] == b"\xff" * 32:
            return
        flags, count = int.from_bytes(head[32:36], "little"), int.from_bytes(head[36:40], "little")
        verified = count if flags & _VERIFIED else 0
        if not flags & _EXTENDED:
            raise hub_error(400, "a file of this shard has no sha256", "upload with `hf upload`")
        end = at + _RECORD * (count + verified + 1)
        if end > len(shard):
            raise hub_error(400, "this shard is cut off", "upload it again")
        terms = np.frombuffer(shard, _ENTRY, count, at)
        yield ShardFile(hexed(shard[end - _RECORD : end - 16]), int(terms["size"].sum(dtype=np.int64)), terms)
        at = end
