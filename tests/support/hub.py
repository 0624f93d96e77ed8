"""The Hub's protocol spoken by hand, for what no honest client says; and a registry over a real socket."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import func, select

from cogen_registry.database.tables import Commit, Entry, Possession, Publisher, Reference, Repository
from cogen_registry.service import Service
from support import shelf


@dataclass
class Registry:
    """A running one. ``seen``: method and path of every request."""

    url: str
    root: Path
    service: Service
    seen: list[str] = field(default_factory=list)
    #: Bytes of bodies that arrived, by method and first part of the path.
    received: Counter[str] = field(default_factory=Counter)

    def hub(self, publisher: str = "team", scopes: list[str] | None = None) -> Hub:
        return Hub(self.url, shelf.token(self.service, publisher, scopes), publisher)

    def limit(self, who: str, **limits: int) -> None:
        with self.service.sessions.write() as session:
            session.scalars(select(Publisher).where(Publisher.name == who)).one().limits = limits

    def state(self) -> dict[str, Any]:
        """All that an upload could leave behind."""
        with self.service.sessions.read() as session:
            rows = {
                table.__tablename__: session.scalar(select(func.count()).select_from(table))
                for table in (Repository, Commit, Entry, Reference, Possession)
            }
            heads = sorted(map(str, session.scalars(select(Reference.oid))))
        staged = sorted(file.name for file in (self.root / "blobs" / ".staged").iterdir())
        xorbs = sorted(str(file) for file in (self.root / "xet").glob("*/xorbs/*"))
        return rows | {"heads": heads, "blobs": list(self.service.blobs.names()), "staged": staged, "xorbs": xorbs}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever happens in the block leaves nothing behind."""
        before = self.state()
        yield
        assert self.state() == before

    def environment(self, home: Path, publisher: str | None = "team", **more: str) -> dict[str, str]:
        """For programs that know of the registry by ``HF_ENDPOINT`` alone."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        if publisher:
            env["HF_TOKEN"] = self.hub(publisher).headers["Authorization"].removeprefix("Bearer ")
        return env | more

    def python(self, script: str, home: Path, *args: str, publisher: str | None = "team", **more: str) -> Any:
        """Run a script in a fresh process; what it printed as JSON on its last line."""
        done = subprocess.run(
            [sys.executable, "-c", script, *args],
            env=self.environment(home, publisher, **more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


class Hub:
    """One publisher's requests. ``refused`` ones are answers like all others here."""

    def __init__(self, url: str, headers: dict[str, str], publisher: str) -> None:
        self.url, self.headers, self.publisher = url, headers, publisher

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = self.headers | options.pop("headers", {})
        url = path if path.startswith("http") else self.url + path
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, url, headers=headers, timeout=30, **options)

    def create(self, name: str, **more: Any) -> str:
        answer = self.send("POST", "/api/repos/create", json={"name": name} | more)
        assert answer.status_code == 200, answer.text
        return f"{self.publisher}/{name}"

    def batch(self, repo: str, *objects: tuple[str, int]) -> list[dict[str, Any]]:
        output = {"operation": "upload", "objects": [{"oid": oid, "size": size} for oid, size in objects]}
        answer = self.send("POST", f"/{repo}.git/info/lfs/objects/batch", json=output)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["objects"]
        return found

    def place(self, repo: str, data: bytes) -> str:
        """A signed URL for these bytes."""
        (item,) = self.batch(repo, (sha256(data), len(data)))
        return str(item["actions"]["upload"]["href"])

    def put(self, url: str, data: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.put(url, data=data, timeout=30)

    def upload(self, repo: str, data: bytes) -> None:
        answer = self.put(self.place(repo, data), data)
        assert answer.status_code == 200, answer.text

    def commit(self, repo: str, *lines: Any, revision: str = "main", parent: str | None = None) -> requests.Response:
        """:param lines: Made by :func:`file`, :func:`lfs` and :func:`deleted`, or bytes as they are."""
        header = {"key": "header", "value": {"summary": "test"} | ({"parentCommit": parent} if parent else {})}
        body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in (header, *lines))
        return self.send("POST", f"/api/models/{repo}/commit/{revision}", data=body)

    def committed(self, repo: str, *lines: Any, **options: Any) -> str:
        answer = self.commit(repo, *lines, **options)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["commitOid"])

    def fetch(self, repo: str, path: str, revision: str = "main", **headers: str) -> requests.Response:
        return self.send("GET", f"/{repo}/resolve/{revision}/{path}", headers=headers)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file(path: str, data: bytes | str) -> dict[str, Any]:
    raw = data.encode() if isinstance(data, str) else data
    return {"key": "file", "value": {"path": path, "content": base64.b64encode(raw).decode(), "encoding": "base64"}}


def lfs(path: str, data: bytes, size: int | None = None) -> dict[str, Any]:
    value = {"path": path, "algo": "sha256", "oid": sha256(data), "size": len(data) if size is None else size}
    return {"key": "lfsFile", "value": value}


def deleted(path: str, folder: bool = False) -> dict[str, Any]:
    return {"key": "deletedFolder" if folder else "deletedFile", "value": {"path": path}}


def tensors(seed: int, *shape: int) -> bytes:
    """A safetensors file of random numbers."""
    import numpy as np
    from safetensors.numpy import save

    return save({"a": np.random.default_rng(seed).standard_normal(shape).astype("float32")})


@contextmanager
def running(root: Path, **settings: Any) -> Iterator[Registry]:
    """A registry in a thread, over a real socket."""
    import uvicorn

    from cogen_registry.app import create_app
    from cogen_registry.settings import Settings

    app = create_app(Settings.model_validate({"root": shelf.fresh_root(root), "embedder": "none"} | settings))
    seen: list[str] = []
    received: Counter[str] = Counter()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        seen.append(f"{scope['method']} {scope['path']}")
        place = f"{scope['method']} /{scope['path'].split('/')[1]}"

        async def counted() -> Any:
            message = await receive()
            received[place] += len(message.get("body", b""))
            return message

        await app(scope, counted, send)

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(watched, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Registry(f"http://127.0.0.1:{listening.getsockname()[1]}", root, app.state.service, seen, received)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
