"""Weights from a registry that lies: names that lead elsewhere, ETags that do, other bytes, half a download."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support.servers import Server, send, serving

from cogen.checkpoints.sources import fetch
from cogen.checkpoints.sources.registry import place_of, snapshot
from cogen.errors import CogenError, DigestError, SourceError, UnsafeError
from cogen.trust.registries import Registry, remember

REVISION = "ab" * 20
FILES = {"config.json": b"{}", "deep/a b.txt": b"x" * 1000, "model.safetensors": b"y" * 3000, "run.py": b"evil"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "COGEN_REGISTRY", "COGEN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    return tmp_path


class Repository:
    """Answers as a registry does; ``entries`` may say anything."""

    def __init__(self, files: dict[str, bytes], entries: Any = None, etag: str = '"abc"') -> None:
        self.files, self.etag = files, etag
        self.entries = [entry(*item) for item in files.items()] if entries is None else entries

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        if path == f"/api/models/acme/power/tree/{REVISION}":
            send(handler, self.entries)
        elif path.startswith(prefix := f"/acme/power/resolve/{REVISION}/"):
            data = self.files.get(unquote(path.removeprefix(prefix)))
            send(handler, data or b"", 404 if data is None else 200, ETag=self.etag, X_Repo_Commit=REVISION)
        else:
            send(handler, {"error": "no such repository", "hint": None}, 404)


def entry(path: str, data: bytes, **changes: Any) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": "0" * 40} | changes


def bring(server: Server) -> Path:
    return snapshot(Registry(server.url), "acme/power", REVISION, ["*.json", "*.safetensors", "*.txt"])


def nothing_outside(home: Path) -> None:
    """What is on the disk lies in the cache's own place."""
    found = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert all((home / "cache" / "registry") in path.parents for path in found), found


def test_a_snapshot_is_what_was_asked_for(home: Path) -> None:
    with serving(Repository(FILES, etag='"../../../../pwn"')) as server:
        folder = bring(server)
        assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")} == {
            name: data for name, data in FILES.items() if name != "run.py"
        }
        asked = len(server.seen)
        assert bring(server) == folder
        assert len(server.seen) == asked
    nothing_outside(home)


@pytest.mark.parametrize(
    "path",
    [
        "../pwn.json",
        "/pwn.json",
        "a/../../pwn.json",
        "a\\pwn.json",
        "C:/pwn.json",
        "./pwn.json",
        "a//pwn.json",
        "config.json/pwn.json",
        "deep",
        f"{'a' * 300}.json",
        "a/" * 400 + "pwn.json",
        "\x1b]0;x\x07.json",
        "\ud800.json",
        "a\u202eb.json",
    ],
)
def test_names_that_lead_elsewhere(home: Path, path: str) -> None:
    files = {**FILES, path: b"{}"}
    with serving(Repository(files)) as server, pytest.raises(UnsafeError, match="holds the path"):
        bring(server)
    assert [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.parametrize(
    "entries",
    [
        [],
        {},
        [1],
        [{"type": "file"}],
        [entry("a.json", b"", size="x")],
        "x",
        None,
        [entry("a.json", b"", size=-1)],
        [entry("a.json", b"", size=True)],
        [None],
        [entry("a.json", b"", size=float("inf"))],
        [entry("a.json", b"", lfs="x")],
        [entry("a.json", b"", lfs={"oid": 5})],
        [entry("a.json", b"", lfs=[1])],
        [entry("a.json", b"", size=1 << 60)],
    ],
)
def test_trees_that_are_none(entries: Any) -> None:
    repository = Repository(FILES)
    repository.entries = entries
    with serving(repository) as server, pytest.raises(SourceError) as caught:
        bring(server)
    assert caught.value.hint


@pytest.mark.parametrize("lie", [{"size": 2999}, {"lfs": {"oid": "0" * 64}}])
def test_other_bytes_than_the_tree_says_leave_nothing(home: Path, lie: dict[str, Any]) -> None:
    entries = [entry("config.json", b"{}"), entry("model.safetensors", FILES["model.safetensors"], **lie)]
    with serving(Repository(FILES, entries)) as server, pytest.raises(DigestError):
        bring(server)
    assert [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_hf_sources_of_a_registrys_namespace_come_from_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And their promised digest is compared; offline, the cache is enough."""
    with serving(Repository(FILES)) as server:
        registry = Registry(server.url, None, "acme", ("acme",))
        remember(registry)
        folder = fetch(f"hf://acme/power@{REVISION}")
        assert folder == place_of(registry, "acme/power", REVISION)
        assert fetch(f"hf://acme/power@{REVISION}/config.json") == folder / "config.json"
        with pytest.raises(DigestError):
            fetch("hf://acme/power", revision=REVISION, digest="sha256:" + "0" * 64)
        with pytest.raises(CogenError, match="no such repository"):
            fetch(f"hf://acme/other@{REVISION}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(f"hf://acme/power@{REVISION}") == folder
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        fetch(f"hf://acme/power@{'cd' * 20}")


def test_nothing_is_kept_of_a_download_that_breaks_off(home: Path) -> None:
    """Neither is it taken for whole the next time."""
    repository = Repository({name: FILES[name] for name in ("config.json",)}, [entry(*one) for one in FILES.items()])
    with serving(repository) as server:
        with pytest.raises(CogenError):
            bring(server)
        repository.files = dict(FILES)
        assert json.loads((bring(server) / "config.json").read_bytes()) == {}
