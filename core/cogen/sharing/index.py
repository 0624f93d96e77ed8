"""The static index of a registry: `index.json`, and the shards that it names.

Two forms are read. The older one holds all cards: ``{"schema": 1, "experts": [card]}``. The newer one names shards with
their SHA-256, ``{"schema": 2, "shards": [{"name", "sha256", "size"}]}``: files ``index/NAME.SHA256.json`` beside it, of
which only those are fetched that are not in the cache yet. A shard is what its digest says, whoever sent or kept it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogen.cache import cached
from cogen.errors import CogenError, DigestError, SourceError
from cogen.files import atomic_write
from cogen.remote import fields
from cogen.remote.client import Client
from cogen.remote.errors import NotThere, RegistryError
from cogen.trust.registries import Registry
from cogen.untrusted.paths import user_path

#: Bytes of one shard at most, and of all of one index.
MOST_SHARD, MOST_ALL = 64 << 20, 4 << 30
#: A registry keeps shards that it replaced for a while; should one be gone even so, its index is asked for anew.
_ATTEMPTS = 4
_HINT = "it is what a registry serves as /api/v1/index.json; set it as `index` in config.toml"


def read_index(place: str, client: Client | None = None) -> list[dict[str, Any]]:
    """Cards of a static index: a file, or a URL (``…/api/v1/index.json`` of any registry or mirror).

    :param client: of the registry that ``place`` belongs to, where there is one: it has the token.
    :raises SourceError: it can't be read. :raises RegistryError: it can't be fetched.
    :raises DigestError: a shard is not the one that the index names.
    """
    try:
        if re.match(r"https?://", place):
            return _fetched(place, client)
        return list(_cards_of_file(user_path(place)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{place} is not an index of experts: {error}", hint=_HINT) from error


def _cards(value: Any) -> Iterator[dict[str, Any]]:
    """Of the older form, and of a shard."""
    yield from (fields.card(card) for card in (value["experts"] if isinstance(value, dict) else value) if "id" in card)


def _shards(value: Any) -> list[tuple[str, str, int]] | None:
    """(file name, SHA-256, size) of each shard; ``None``: it is the older form.

    :raises ValueError: it is neither. A name says nothing but itself: no path can be in it.
    """
    if not isinstance(value, dict) or "shards" not in value:
        return None
    found = []
    for one in value["shards"]:
        name, sha256, size = str(one["name"]), str(one["sha256"]), one["size"]
        if not re.fullmatch(r"[a-z0-9]{1,16}", name) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ValueError(f"{name[:40]!r} is no shard")
        if type(size) is not int or not 0 <= size <= MOST_SHARD:
            raise ValueError(f"the shard {name} has an impossible size")
        found.append((f"{name}.{sha256}.json", sha256, size))
    if sum(size for _, _, size in found) > MOST_ALL:
        raise ValueError(f"its shards have more than {MOST_ALL:,} bytes")
    return found


def _checked(data: bytes, file: str, sha256: str, size: int, where: str) -> bytes:
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise DigestError(
            f"{file[:2]}… of the index at {where} is not the shard that it names",
            hint="it was altered on its way or at the registry: tell its operator",
        )
    return data


def _cards_of_file(path: Path) -> Iterator[dict[str, Any]]:
    value = json.loads(path.read_text(encoding="utf-8"))
    shards = _shards(value)
    if shards is None:
        yield from _cards(value)
    for file, sha256, size in shards or ():
        yield from _cards(
            json.loads(_checked((path.parent / "index" / file).read_bytes(), file, sha256, size, str(path)))
        )


def _fetched(place: str, client: Client | None) -> list[dict[str, Any]]:
    base, _, name = place.rpartition("/")
    if client is None:
        client, path = Client(Registry(base)), ""
    else:
        path = base.removeprefix(client.url)
    for attempt in range(_ATTEMPTS):
        value = client.get(f"{path}/{name}")
        shards = _shards(value)
        if shards is None:
            return list(_cards(value))
        try:
            return [card for data in _brought(client, path, place, shards) for card in _cards(json.loads(data))]
        except NotThere as error:
            if attempt == _ATTEMPTS - 1:
                raise RegistryError(
                    f"the index at {place} names a shard that is not there", hint="try again later"
                ) from error
    raise AssertionError


def _brought(client: Client, path: str, place: str, shards: list[tuple[str, str, int]]) -> Iterator[bytes]:
    """Each shard, whole: from the cache, or fetched and put there. Those that the index names no longer leave it."""
    folder = _folder(place)
    for file, sha256, size in shards:
        data = b""
        if folder is not None:
            with contextlib.suppress(OSError):
                data = (folder / file).read_bytes()
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            data = _checked(client.read(f"{path}/index/{file}", MOST_SHARD), file, sha256, size, place)
            if folder is not None:
                with contextlib.suppress(OSError):  # a full disk: it is fetched again the next time
                    atomic_write(folder / file, data)
        yield data
    named = {file for file, _, _ in shards}
    for old in folder.iterdir() if folder is not None else ():
        if old.name not in named and re.fullmatch(r"[a-z0-9]+\.[0-9a-f]{64}\.json", old.name):
            old.unlink(missing_ok=True)


def _folder(place: str) -> Path | None:
    """Where the shards of one index are kept; ``None`` where nothing can be written."""
    try:
        folder = cached("index", hashlib.sha256(place.encode()).hexdigest()[:32])
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, CogenError):
        return None
    return folder
