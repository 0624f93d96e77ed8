"""The whole service behind a test client, and once over real sockets for the tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.shelf import fresh_root, token

from cogen_registry.app import create_app
from cogen_registry.service import Service
from cogen_registry.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(root=fresh_root(tmp_path / "root"), embedder="none", verify_elsewhere=False)
    with TestClient(create_app(settings)) as opened:
        yield opened


@pytest.fixture
def service(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found


@pytest.fixture
def post(client: TestClient, service: Service) -> Callable[..., Any]:
    """Upload a wheel as twine does; ``fields`` changes the form."""

    def posted(path: Path, publisher: str = "team", headers: dict[str, str] | None = None, **fields: str) -> Any:
        name, version = path.name.split("-")[:2]
        form = {
            ":action": "file_upload",
            "protocol_version": "1",
            "metadata_version": "2.4",
            "name": name,
            "version": version,
            "filetype": "bdist_wheel",
            "pyversion": "py3",
        } | fields
        filename = form.pop("filename", path.name)
        headers = token(service, publisher) if headers is None else headers
        return client.post(
            "/legacy/",
            data=form,
            files={"content": (filename, path.read_bytes(), "application/octet-stream")},
            headers=headers,
        )

    return posted


@dataclass
class Running:
    """A registry that another process serves."""

    url: str
    root: Path

    def command(self, *arguments: str) -> str:
        """Output of `cogen-registry …` while the service runs, in a process of its own."""
        return _run([sys.executable, "-m", "cogen_registry.cli", *arguments, "--root", str(self.root)])

    def publisher(self, name: str) -> str:
        """A fresh token of a new publisher."""
        self.command("publisher", "add", name)
        return self.command("token", "new", name, "--scope", "all").strip()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = fresh_root(tmp_path_factory.mktemp("served") / "root")
    command = [
        sys.executable,
        "-m",
        "cogen_registry.cli",
        "serve",
        "--root",
        str(root),
        "--port",
        "0",
        "--embedder",
        "none",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        match = re.search(r"http://\S+", line)
        assert match, line + process.stderr.read()
        yield Running(match[0], root)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()
