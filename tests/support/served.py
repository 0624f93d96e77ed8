"""A registry as its operators run it: `cogen-registry serve` in a process of its own, and the commands beside it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from cogen_registry.auth import SCOPES, new_token
from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.database.tables import Publisher
from cogen_registry.settings import Settings
from support import processes, shelf
from support.hub import Hub


@dataclass
class Served:
    """One running process over ``root``. ``database``: a URL instead of SQLite."""

    root: Path
    url: str
    process: processes.Running
    log: Path
    database: str | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str, code: int = 0) -> str:
        """Output of `cogen-registry …` while the service runs, in this process: to start one takes a second."""
        place = ["--root", str(self.root), *(["--database", self.database] if self.database else [])]
        return shelf.command(*arguments, *place, code=code)

    def token(self, publisher: str) -> str:
        """The token of a publisher, who is added if he is new."""
        if publisher not in self.tokens:
            self.tokens[publisher] = tokens_of(self.root, publisher, database=self.database)[publisher]
        return self.tokens[publisher]

    def limit(self, who: str, **limits: int) -> None:
        self.command("publisher", "set", who, *(f"--limit={name}={size}" for name, size in limits.items()))

    def hub(self, publisher: str) -> Hub:
        return Hub(self.url, {"Authorization": f"Bearer {self.token(publisher)}"}, publisher)

    def healthy(self) -> None:
        """It runs, answers, and nothing went wrong in it that nobody had thought of."""
        assert self.process.poll() is None
        assert "Traceback" not in self.log.read_text()
        assert self.get("/healthz").json() == {"status": "ok"}

    def get(self, path: str, **headers: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(path if path.startswith("http") else self.url + path, headers=headers, timeout=30)

    def files(self) -> dict[str, int]:
        """Everything in the root but the database and its like: relative path → size."""
        found = {}
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and not name.startswith(("registry.sqlite", ".lock")):
                found[name] = path.stat().st_size
        return found

    def kill(self) -> None:
        """As a power cut, but for what the system holds in its cache."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


def tokens_of(root: Path, *publishers: str, database: str | None = None, **limits: int) -> dict[str, str]:
    """Publishers and a token of each, written as the command line does it, but in one process."""
    engine = connect(Settings(root=root, database=database).database_url)
    try:
        with Sessions(engine).write() as session:
            found = {}
            for name in publishers:
                publisher = Publisher(name=name, title=name.title(), limits=dict(limits))
                session.add(publisher)
                session.flush()
                found[name] = new_token(session, publisher, list(SCOPES))
            return found
    finally:
        engine.dispose()


@contextmanager
def started(
    root: Path, *options: str, tokens: dict[str, str] | None = None, database: str | None = None
) -> Iterator[Served]:
    """Serve ``root`` at a free port until the block ends."""
    arguments = ["--root", str(root), "--port", "0", "--embedder", "none", *options]
    arguments += ["--database", database] if database else []
    log = root.with_suffix(".log")
    log.write_text("")
    process = processes.serve(arguments, log, os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        while not (match := re.search(r"http://\S+\n", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        served = Served(root, match[0].strip(), process, log, database, dict(tokens or {}))
        served.healthy()  # the socket listens before the application does: this waits for it
        yield served
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait(30)


@contextmanager
def serving(root: Path, *options: str, database: str | None = None, more: str = "", **limits: Any) -> Iterator[Served]:
    """An empty registry, until the block ends.

    :param more: other lines of its settings file. :param limits: those of its section ``limits``.
    """
    if database is None:
        shelf.fresh_root(root)
    else:
        shelf.initialise(root, database)
    settings = root.with_suffix(".toml")
    settings.write_text(f"{more}\n[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
    with started(root, "--settings", str(settings), *options, database=database) as served:
        yield served
