"""Uploads of every kind, over and over until the connection ends; a book says what was sent and what was answered."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from support import wheels, xet
from support.hub import Hub, file, lfs, sha256, tensors

_BLOCK = 64 * 1024


@dataclass
class Sent:
    """One upload. ``files``: path (of a repository) or file name (of a wheel) → hex SHA-256.

    ``share``: of its body that had been sent; ``answered``: the server said that it was accepted.
    """

    kind: str
    place: str
    files: dict[str, str]
    size: int = 0
    share: float = 0.0
    answered: bool = False


@dataclass
class Book:
    """Of all threads. :param pace: seconds between two blocks of 64 KiB, by kind of body."""

    seed: int
    pace: float
    sent: list[Sent] = field(default_factory=list)
    #: What a thread met that was no broken connection.
    problems: list[str] = field(default_factory=list)

    def note(self, kind: str, place: str, files: dict[str, str], size: int = 0) -> Sent:
        self.sent.append(Sent(kind, place, files, size))
        return self.sent[-1]

    def send(self, note: Sent, method: str, url: str, body: bytes, headers: dict[str, str]) -> bool:
        """Send in blocks; ``note`` is kept up to date."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.putrequest(method, f"{parts.path}?{parts.query}" if parts.query else parts.path)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                connection.putheader(name, value)
            connection.endheaders()
            for start in range(0, len(body), _BLOCK):
                connection.send(body[start : start + _BLOCK])
                note.share = min(1.0, (start + _BLOCK) / len(body))
                time.sleep(self.pace)
            answer = connection.getresponse()
            output = answer.read()
            if answer.status != 200:
                self.problems.append(f"{note.kind}: {answer.status} {output[:300]!r}")
            note.answered = answer.status == 200
        finally:
            connection.close()
        return note.answered

    def wheel(self, hub: Hub, folder: Path, number: int) -> None:
        """A version of a project of this publisher, by the form of twine."""
        noise = random.Random(f"{self.seed} {hub.publisher} {number}").randbytes(700_000).hex().encode()
        # names of two teams are further apart than a typo
        id, version = f"{hub.publisher}-{3 * hub.publisher[-1]}", f"1.{self.seed}.{number}"
        module = f"cogen_plugin_{id.replace('-', '_')}"
        path = wheels.build(folder, id, version, extra={f"{module}/noise.txt": noise})
        data = path.read_bytes()
        path.unlink()
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "name": f"cogen-plugin-{id}",
            "version": version,
        }
        request = requests.Request(
            "POST", f"{hub.url}/legacy/", data=fields, files={"content": (path.name, data)}, headers=hub.headers
        ).prepare()
        note = self.note("wheel", f"cogen-plugin-{id}", {path.name: sha256(data)}, len(data))
        assert isinstance(request.body, bytes)
        headers = {"Content-Type": str(request.headers["Content-Type"])} | hub.headers
        self.send(note, "POST", str(request.url), request.body, headers)

    def lfs(self, hub: Hub, folder: Path, number: int) -> None:
        """Bytes to a signed URL, then a commit that names them."""
        repo, path, data = f"{hub.publisher}/model", f"{self.seed}-{number}.safetensors", self._tensors(hub, number)
        url = hub.place(repo, data)
        note = self.note("lfs", repo, {path: sha256(data)}, len(data))
        if self.send(note, "PUT", url, data, {}):
            self._commit(hub, repo, {path: data}, number)

    def xet(self, hub: Hub, folder: Path, number: int) -> None:
        """A xorb, a shard, then a commit."""
        repo, path, data = f"{hub.publisher}/model", f"{self.seed}-{number}.safetensors", self._tensors(hub, number)
        grant = hub.send("GET", f"/api/models/{repo}/xet-write-token/main").json()
        headers = {"Authorization": f"Bearer {grant['accessToken']}"}
        blocks = [data[start : start + 2 * _BLOCK] for start in range(0, len(data), 2 * _BLOCK)]
        name = sha256(data)
        xorb = self.note("xorb", repo, {})
        if not self.send(
            xorb,
            "POST",
            f"{grant['casUrl']}/v1/xorbs/default/{name}",
            b"".join(xet.chunk(block, 1) for block in blocks),
            headers,
        ):
            return
        shard = xet.shard(xet.file(data, [(name, 0, len(blocks), len(data))]))
        note = self.note("xet", repo, {path: sha256(data)}, len(data))
        if self.send(note, "POST", f"{grant['casUrl']}/v1/shards", shard, headers):
            self._commit(hub, repo, {path: data}, number)

    def small(self, hub: Hub, folder: Path, number: int) -> None:
        """A commit of small files: all of them are there, or none."""
        chosen = random.Random(f"{self.seed} {hub.publisher} {number}")
        files = {f"{self.seed}-{number}/{n}.txt": chosen.randbytes(20_000).hex().encode() for n in range(20)}
        lines = [file(path, data) for path, data in files.items()]
        self._send_commit(hub, f"{hub.publisher}/model", files, lines)

    def _tensors(self, hub: Hub, number: int) -> bytes:
        return tensors(zlib.crc32(f"{self.seed} {hub.publisher} {number}".encode()), 700_000)

    def _commit(self, hub: Hub, repo: str, large: dict[str, bytes], number: int) -> None:
        beside = {f"{self.seed}-{number}.json": b'{"number": %d, "of": %d}' % (number, self.seed)}
        lines = [lfs(path, data) for path, data in large.items()] + [file(path, data) for path, data in beside.items()]
        self._send_commit(hub, repo, large | beside, lines)

    def _send_commit(self, hub: Hub, repo: str, files: dict[str, bytes], lines: list[Any]) -> None:
        note = self.note("commit", repo, {path: sha256(data) for path, data in files.items()})
        header = {"key": "header", "value": {"summary": f"{len(files)} files"}}
        body = b"\n".join(json.dumps(line).encode() for line in (header, *lines))
        self.send(note, "POST", f"{hub.url}/api/models/{repo}/commit/main", body, hub.headers)


class Uploading:
    """Threads that upload; ``with`` starts them. The block ends when their connections do."""

    def __init__(self, book: Book, folder: Path, hubs: dict[str, Hub]) -> None:
        """:param hubs: publisher → client; a publisher is called like the kind of upload that it makes."""
        self.book = book
        self.begun = threading.Event()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(getattr(book, name.partition("-")[0]), hub, folder), daemon=True)
            for name, hub in hubs.items()
        ]

    def _run(self, upload: Callable[[Hub, Path, int], None], hub: Hub, folder: Path) -> None:
        for number in self._numbers():
            try:
                self.begun.set()
                upload(hub, folder, number)
            except (OSError, http.client.HTTPException):  # of requests, too: the connection ended
                return
            except (AssertionError, KeyError, ValueError) as error:
                self.book.problems.append(f"{hub.publisher}: {error!r}")
                return

    def _numbers(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self._over.is_set(), itertools.count())

    def __enter__(self) -> Uploading:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
