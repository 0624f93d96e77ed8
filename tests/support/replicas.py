"""Several real processes over one PostgreSQL and one object store, and a crowd that uses all of them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests

from support import processes, wheels, xet
from support.hub import file, lfs, sha256, tensors

SETTINGS = (
    'alive_seconds = {alive}\ntidy_seconds = {tidy}\nkeys = "{keys}"\nembedder = "none"\nverify_elsewhere = false\n'
)
_SIMPLE = "application/vnd.pypi.simple.v1+json"


class Replica:
    """One process; always at the same port, so that it comes back where it was."""

    def __init__(self, folder: Path, number: int, database: str, blobs: str, settings: Path, port: int = 0) -> None:
        self.root, self.log, self.port = folder / f"root-{number}", folder / f"replica-{number}.log", port
        self._options = ["--database", database, "--blobs", blobs, "--settings", str(settings)]
        self.process: processes.Running | None = None
        #: When it answered for the first time since its start, and when it was killed: by time.monotonic().
        self.up_since: float | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait: bool = True) -> None:
        with self.log.open("a") as output:
            output.write("---- start\n")
        arguments = ["--root", str(self.root), "--port", str(self.port), *self._options]
        self.process = processes.serve(arguments, self.log, os.environ)
        if wait:
            self.wait()

    def wait(self, patience: float = 120) -> None:
        """Until it answers."""
        assert self.process is not None
        begin = time.monotonic()
        while time.monotonic() - begin < patience:
            if self.process.poll() is not None:  # it could not reach its database: the supervisor starts it again
                time.sleep(0.5)
                self.start(wait=False)
                continue
            match = re.findall(r"at http://\S+:(\d+)\n", self.log.read_text().rpartition("---- start")[2])
            if match:
                self.port = int(match[-1])
                try:
                    if requests.get(f"{self.url}/healthz", timeout=5).status_code == 200:
                        self.up_since = time.monotonic()
                        return
                except requests.RequestException:
                    pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-3000:])

    def kill(self) -> None:
        assert self.process is not None
        self.up_since = None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            finally:
                self.process.kill()
                self.process.wait(30)


@dataclass
class Accepted:
    """An upload that was answered with 200. ``files``: name of a wheel, or path in a repository → hex SHA-256."""

    kind: str
    place: str
    files: dict[str, str]


@dataclass
class Crowd:
    """Publishers and readers, until the block ends. Each request goes to a replica that is drawn by chance."""

    replicas: list[Replica]
    tokens: dict[str, str]
    folder: Path
    readers: int = 8
    accepted: list[Accepted] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    #: Seconds from the answer to an upload until another replica lists it.
    stale: list[float] = field(default_factory=list)
    size: int = 60_000

    def __enter__(self) -> Crowd:
        self._over = threading.Event()
        works: list[Callable[[], None]] = [partial(self._publish, name) for name in self.tokens]
        works += [partial(self._read, number) for number in range(self.readers)]
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a thread's error is the test's
            self.problems.append(repr(error))

    # ---- requests --------------------------------------------------------------------------------

    def ask(self, chosen: random.Random, method: str, path: str, at: Replica | None = None, **options: Any) -> Any:
        """An answer of any replica; ``None``: none came, or 5xx: whoever asked tries again."""
        replica = at or chosen.choice(self.replicas)
        url = path if path.startswith("http") else replica.url + path
        try:
            answer = requests.request(method, url, timeout=60, **options)
        except requests.RequestException:
            self.answers[f"{method} broken"] += 1
            return None
        self.answers[f"{method} {answer.status_code}"] += 1
        return None if answer.status_code >= 500 else answer

    def until(self, chosen: random.Random, method: str, path: str, good: tuple[int, ...], **options: Any) -> Any:
        """Ask until an answer is one of these; others that are no 5xx are problems."""
        while True:
            answer = self.ask(chosen, method, path, **options)
            if answer is not None:
                if answer.status_code in good:
                    return answer
                if answer.status_code != 409:  # "conflict with a simultaneous request": ourselves, before the kill
                    raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            time.sleep(0.1)

    # ---- publishers ------------------------------------------------------------------------------

    def _publish(self, name: str) -> None:
        chosen, number = random.Random(name), 0
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        kind = name.partition("-")[0]
        if kind != "wheel":
            self.until(chosen, "POST", "/api/repos/create", (200, 409), json={"name": "model"}, headers=headers)
        while not self._over.is_set():
            number += 1
            try:
                getattr(self, f"_{kind}")(name, chosen, number, headers)
            except _GaveUp:
                return

    def _wheel(self, name: str, chosen: random.Random, number: int, headers: dict[str, str]) -> None:
        module = f"cogen_plugin_{name.replace('-', '_')}_{3 * name[-1]}"
        noise = chosen.randbytes(self.size // 2).hex().encode()
        path = wheels.build(self.folder, f"{name}-{3 * name[-1]}", f"1.{number}", extra={f"{module}/noise.txt": noise})
        data = path.read_bytes()
        path.unlink()
        form = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "name": f"cogen-plugin-{name}-{3 * name[-1]}",
            "version": f"1.{number}",
        }
        self.until(chosen, "POST", "/legacy/", (200,), data=form, files={"content": (path.name, data)}, headers=headers)
        moment = time.monotonic()
        self.accepted.append(Accepted("wheel", form["name"], {path.name: sha256(data)}))
        self._watch(form["name"], path.name, moment)

    def _watch(self, project: str, filename: str, moment: float) -> None:
        """How long until every replica that was up all the time lists it?"""
        for replica in self.replicas:
            while not self._over.is_set():
                since = replica.up_since
                if since is None or since > moment:  # it died, or came back later: no statement
                    break
                answer = self.ask(random.Random(), "GET", f"/simple/{project}/", replica, headers={"Accept": _SIMPLE})
                now = time.monotonic()
                if answer is None:
                    break
                if answer.status_code == 200 and any(one["filename"] == filename for one in answer.json()["files"]):
                    self.stale.append(now - moment)
                    break
                time.sleep(0.02)

    def _lfs(self, name: str, chosen: random.Random, number: int, headers: dict[str, str]) -> None:
        """Batch, bytes and commit, each at another replica."""
        repo, path, data = f"{name}/model", f"{number}.safetensors", tensors(number, self.size // 4)
        output = {"operation": "upload", "objects": [{"oid": sha256(data), "size": len(data)}]}
        while True:
            (item,) = self.until(
                chosen, "POST", f"/{repo}.git/info/lfs/objects/batch", (200,), json=output, headers=headers
            ).json()["objects"]
            if "actions" not in item:
                break
            url = "/lfs/" + item["actions"]["upload"]["href"].partition("/lfs/")[2]
            answer = self.ask(chosen, "PUT", url, data=data)
            if answer is not None and answer.status_code == 200:
                break
            if answer is not None:
                raise AssertionError(f"PUT: {answer.status_code} {answer.text[:300]}")
            self._pause()
        self._commit(name, chosen, {path: data}, {f"{number}.json": b'{"n": %d}' % number}, headers)

    def _xet(self, name: str, chosen: random.Random, number: int, headers: dict[str, str]) -> None:
        """Xorb, shard and commit, each at another replica."""
        repo, path, data = f"{name}/model", f"{number}.safetensors", tensors(-number % 2**31, self.size // 4)
        grant = self.until(chosen, "GET", f"/api/models/{repo}/xet-write-token/main", (200,), headers=headers).json()
        place = "/xet/" + grant["casUrl"].partition("/xet/")[2]
        allowed = {"Authorization": f"Bearer {grant['accessToken']}"}
        blocks = [data[start : start + 16_384] for start in range(0, len(data), 16_384)]
        xorb = b"".join(xet.chunk(block, 1) for block in blocks)
        shard = xet.shard(xet.file(data, [(sha256(data), 0, len(blocks), len(data))]))
        self.until(chosen, "POST", f"{place}/v1/xorbs/default/{sha256(data)}", (200,), data=xorb, headers=allowed)
        self.until(chosen, "POST", f"{place}/v1/shards", (200,), data=shard, headers=allowed)
        self._commit(name, chosen, {path: data}, {}, headers)

    def _commit(
        self, name: str, chosen: random.Random, large: dict[str, bytes], small: dict[str, bytes], headers: Any
    ) -> None:
        lines = [{"key": "header", "value": {"summary": "files"}}]
        lines += [lfs(path, data) for path, data in large.items()] + [file(path, data) for path, data in small.items()]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        self.until(chosen, "POST", f"/api/models/{name}/model/commit/main", (200,), data=body, headers=headers)
        files = {path: sha256(data) for path, data in (large | small).items()}
        self.accepted.append(Accepted(name.partition("-")[0], f"{name}/model", files))

    def _pause(self) -> None:
        if self._over.wait(0.1):
            raise _GaveUp

    # ---- readers ---------------------------------------------------------------------------------

    def _read(self, seed: int) -> None:
        """Whatever is listed is there as a whole, everywhere and at once."""
        chosen = random.Random(f"reader {seed}")
        while not self._over.is_set():
            known = list(self.accepted)
            if not known:
                time.sleep(0.05)
                continue
            one = chosen.choice(known)
            if one.kind == "wheel":
                self._read_project(chosen, one.place)
            else:
                self._read_files(chosen, one.place)
            answer = self.ask(chosen, "GET", chosen.choice(("/api/v1/experts?limit=100", "/experts", "/", "/simple/")))
            assert answer is None or answer.status_code == 200, answer.text

    def _read_project(self, chosen: random.Random, project: str) -> None:
        replica = chosen.choice(self.replicas)
        listed = self.ask(chosen, "GET", f"/simple/{project}/", replica, headers={"Accept": _SIMPLE})
        if listed is None or listed.status_code != 200:  # a first version that this replica has not heard of
            return
        wanted = chosen.choice(listed.json()["files"])
        for name, digest in (
            (wanted["filename"], wanted["hashes"]["sha256"]),
            (f"{wanted['filename']}.metadata", wanted["core-metadata"]["sha256"]),
        ):
            got = self.ask(chosen, "GET", f"/files/{wanted['hashes']['sha256']}/{name}")
            assert got is None or (got.status_code, sha256(got.content)) == (200, digest), (name, got.status_code)
        expert = project.removeprefix("cogen-plugin-")
        page = self.ask(chosen, "GET", f"/experts/{expert}", replica)
        assert page is None or page.status_code == 200, page.text

    def _read_files(self, chosen: random.Random, repo: str) -> None:
        listed = self.ask(chosen, "GET", f"/api/models/{repo}/revision/main")
        if listed is None:
            return
        revision = listed.json()["sha"]
        tree = self.ask(chosen, "GET", f"/api/models/{repo}/tree/{revision}?recursive=true&limit=1000")
        if tree is None or not (files := [one for one in tree.json() if one["type"] == "file"]):
            return
        item = chosen.choice(files)
        got = self.ask(chosen, "GET", f"/{repo}/resolve/{revision}/{item['path']}")
        if got is not None:
            assert got.status_code == 200, got.text
            assert len(got.content) == item["size"]
            assert "lfs" not in item or sha256(got.content) == item["lfs"]["oid"]

    def figures(self) -> str:
        """In words."""
        stale, kinds = sorted(self.stale) or [0.0], dict(Counter(one.kind for one in self.accepted))
        answers = ", ".join(f"{what}: {count}" for what, count in sorted(self.answers.items()))
        return (
            f"{len(self.accepted)} uploads accepted ({kinds}); answers {answers}; listed at another replica after "
            f"{statistics.median(stale):.2f} s (median), {stale[int(len(stale) * 0.99)]:.2f} s (99 %), "
            f"{stale[-1]:.2f} s (the longest of {len(self.stale)})"
        )


class _GaveUp(Exception):
    """The block ended while an upload was under way."""


def whole(replica: Replica, accepted: list[Accepted]) -> list[str]:
    """What of the accepted uploads this replica has not, byte for byte."""
    missing = []
    with requests.Session() as session:
        for one in accepted:
            for name, digest in one.files.items():
                path = f"/files/{digest}/{name}" if one.kind == "wheel" else f"/{one.place}/resolve/main/{name}"
                got = session.get(replica.url + path, timeout=60)
                if got.status_code != 200 or sha256(got.content) != digest:
                    missing.append(f"{replica.url}{path}: {got.status_code}")
    return missing
