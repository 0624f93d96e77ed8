"""The static index: every current card in files, for clients that search without a service and for mirrors.

``index.json`` is small: it names shards with their SHA-256, and a shard is a file of its own, ``index/AB.SHA256.json``.
``AB`` are the first ten bits of the SHA-256 of an expert's id, as two letters or digits of base 32: the same experts
give the same files, whoever writes them. A publication changes one shard; a client fetches those that it has not yet.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cogen_registry.experts.cards import cards_of

SCHEMA = 2
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
#: All names of shards, in their order.
SHARDS = tuple(sorted(a + b for a in _DIGITS for b in _DIGITS))


@dataclass(frozen=True)
class Shard:
    """``sha256`` and ``size`` are those of its file; ``experts``: how many are in it."""

    name: str
    sha256: str
    size: int
    experts: int

    @property
    def file(self) -> str:
        return f"{self.name}.{self.sha256}.json"


def shard_of(id: str) -> str:
    """The shard that an expert belongs to."""
    return base64.b32encode(hashlib.sha256(id.encode()).digest()[:5])[:2].decode().lower()


def write_shard(session: Session, name: str, ids: Sequence[int]) -> tuple[Shard, bytes]:
    """A shard and its bytes.

    :param ids: rows of ``experts``; those that are gone meanwhile are left out.
    """
    return joined(name, write_lines(session, ids))


def write_lines(session: Session, ids: Sequence[int]) -> dict[str, bytes]:
    """Expert → its card as a line of a shard."""
    return {card.id: card.model_dump_json(exclude={"score"}).encode() for card in cards_of(session, ids)}


def read_lines(data: bytes) -> dict[str, bytes]:
    """What :func:`joined` was given. A card begins with its id, which is of letters, digits and dashes."""
    lines = data.split(b"\n")[1:-2]
    return {line.partition(b'"id":"')[2].partition(b'"')[0].decode(): line.removesuffix(b",") for line in lines}


def joined(name: str, lines: Mapping[str, bytes]) -> tuple[Shard, bytes]:
    """A card a line, sorted by expert."""
    cards = b",".join(b"\n" + lines[id] for id in sorted(lines))
    data = b'{"schema": %d, "experts": [%s\n]}\n' % (SCHEMA, cards)
    return Shard(name, hashlib.sha256(data).hexdigest(), len(data), len(lines)), data


def document(title: str, shards: Sequence[Shard]) -> bytes:
    """``index.json``: empty shards are not named."""
    named = [
        {"name": one.name, "sha256": one.sha256, "size": one.size, "experts": one.experts}
        for one in sorted(shards, key=lambda one: one.name)
        if one.experts
    ]
    content = {"schema": SCHEMA, "title": title, "total": sum(one.experts for one in shards), "shards": named}
    return (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
