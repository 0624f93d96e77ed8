"""The static index in both of its forms: whole, from a file or a URL, and never other than its digests say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from support.servers import Server, send, serving

from cogen.errors import CogenError, DigestError
from cogen.sharing.index import read_index

CARDS = [{"id": name, "title": f"The {name}"} for name in ("alloys", "clinic", "power", "zoo")]


def shards(cards: list[dict[str, Any]], size: int = 2) -> tuple[bytes, dict[str, bytes]]:
    """(`index.json`, file name → shard)."""
    files, named = {}, []
    for start in range(0, len(cards), size):
        data = json.dumps({"schema": 2, "experts": cards[start : start + size]}).encode()
        digest, name = hashlib.sha256(data).hexdigest(), f"s{start}"
        files[f"{name}.{digest}.json"] = data
        named.append({"name": name, "sha256": digest, "size": len(data), "experts": size})
    return json.dumps({"schema": 2, "title": "x", "total": len(cards), "shards": named}).encode(), files


@contextmanager
def registry(state: dict[str, bytes]) -> Iterator[Server]:
    """Serves what ``state`` has at that moment, by the end of the path."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2]
        if name in state:
            send(handler, state[name])
        else:
            send(handler, {"error": "no such shard", "hint": None}, 404)

    with serving(answer) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def seen(server: Server) -> list[str]:
    found = [request.rpartition("/")[2].partition(".")[0] for request, _ in server.seen]
    server.seen.clear()
    return found


def test_only_what_changed_is_fetched(cache: Path) -> None:
    document, files = shards(CARDS)
    state = {"index.json": document} | files
    with registry(state) as server:
        place = f"{server.url}/api/v1/index.json"
        assert read_index(place) == CARDS
        assert seen(server) == ["index", "s0", "s2"]
        assert read_index(place) == CARDS
        assert seen(server) == ["index"]
        changed = [*CARDS[:3], {"id": "zoo", "title": "Another"}]
        document, files = shards(changed)
        state |= {"index.json": document} | files
        assert read_index(place) == changed
        assert seen(server) == ["index", "s2"]
    kept = [path.name for path in cache.rglob("*.json")]
    assert sorted(kept) == sorted(files)  # and what is no longer named is gone


def test_a_file_and_a_mirror_on_a_disk(tmp_path: Path) -> None:
    document, files = shards(CARDS)
    (tmp_path / "index").mkdir()
    (tmp_path / "index.json").write_bytes(document)
    for name, data in files.items():
        (tmp_path / "index" / name).write_bytes(data)
    assert read_index(str(tmp_path / "index.json")) == CARDS
    next((tmp_path / "index").iterdir()).unlink()
    with pytest.raises(CogenError) as caught:
        read_index(str(tmp_path / "index.json"))
    assert caught.value.hint


@pytest.mark.parametrize("change", [lambda data: data.replace(b"alloys", b"alloyz"), lambda data: data + b" "])
def test_a_shard_that_was_altered_is_refused(change: Any, cache: Path) -> None:
    document, files = shards(CARDS)
    first = min(files)
    with registry({"index.json": document} | files | {first: change(files[first])}) as server:
        place = f"{server.url}/index.json"
        with pytest.raises(DigestError):
            read_index(place)
    assert [path.name for path in cache.rglob("*.json")] == []


def test_a_cache_that_was_altered_is_fetched_again(cache: Path) -> None:
    document, files = shards(CARDS)
    with registry({"index.json": document} | files) as server:
        place = f"{server.url}/index.json"
        read_index(place)
        for path in cache.rglob("*.json"):
            path.write_bytes(path.read_bytes().replace(b"The", b"Any"))
        assert read_index(place) == CARDS


def test_a_cache_that_cannot_be_is_no_hindrance(cache: Path) -> None:
    cache.write_text("a file")
    document, files = shards(CARDS)
    with registry({"index.json": document} | files) as server:
        assert read_index(f"{server.url}/index.json") == CARDS


def test_an_index_that_changes_while_it_is_read() -> None:
    """Its shard is gone: it is asked for anew, and what comes is of one moment."""
    old, gone = shards(CARDS)
    new, files = shards(CARDS[:2])
    state = {"index.json": old} | {min(gone): gone[min(gone)]}
    answers = iter([old, new])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2]
        if name == "index.json":
            send(handler, next(answers))
        elif name in state | files:
            send(handler, (state | files)[name])
        else:
            send(handler, {"error": "no such shard", "hint": None}, 404)

    with serving(answer) as server:
        assert read_index(f"{server.url}/index.json") == CARDS[:2]


def test_a_shard_that_is_never_there_is_named() -> None:
    document, _ = shards(CARDS)
    with registry({"index.json": document}) as server, pytest.raises(CogenError, match="not there") as caught:
        read_index(f"{server.url}/index.json")
    assert caught.value.hint


@pytest.mark.parametrize(
    "shard",
    [
        {"name": "../../etc", "sha256": "0" * 64, "size": 1},
        {"name": "a/b", "sha256": "0" * 64, "size": 1},
        {"name": "aa", "sha256": "../" + "0" * 61, "size": 1},
        {"name": "aa", "sha256": "0" * 64, "size": -1},
        {"name": "aa", "sha256": "0" * 64, "size": 1 << 40},
        {"name": "aa", "sha256": "0" * 64, "size": True},
        {"name": "aa", "sha256": "0" * 64},
        {"name": "aa\n", "sha256": "0" * 64, "size": 1},
        "aa",
        7,
        None,
    ],
)
def test_shards_that_cannot_be(shard: Any, tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"schema": 2, "shards": [shard]}))
    with pytest.raises(CogenError) as caught:
        read_index(str(path))
    assert "index.json" in str(caught.value.hint)


def test_more_than_anybody_has(tmp_path: Path) -> None:
    many = [{"name": f"a{number}", "sha256": "0" * 64, "size": 64 << 20} for number in range(100)]
    (tmp_path / "index.json").write_text(json.dumps({"schema": 2, "shards": many}))
    with pytest.raises(CogenError, match="more than"):
        read_index(str(tmp_path / "index.json"))
