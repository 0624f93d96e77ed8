"""``hf://``: the Hub's own client and cache, without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.sources import fetch
from cogen.errors import SourceError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "tokenizer.json": b"{}"}


def snapshot(home: Path, files: dict[str, bytes]) -> Path:
    """A repository as the Hub's client caches it: blobs, and a snapshot folder of links to them."""
    repo = home / "hub" / "models--org--model"
    folder = repo / "snapshots" / COMMIT
    (repo / "blobs").mkdir(parents=True)
    for name, data in files.items():
        blob = repo / "blobs" / hashlib.sha256(data + name.encode()).hexdigest()
        blob.write_bytes(data)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(blob, path.parent))
    return folder


def ask(home: Path, uri: str, **settings: str) -> Any:
    """Fetch in a new process, since the client reads its settings when it is imported: a path, or the error."""
    code = (
        "import json, sys\nfrom cogen.checkpoints.sources import fetch\nfrom cogen.errors import CogenError\n"
        f"try:\n    print(json.dumps(['path', str(fetch({uri!r}))]))\n"
        "except CogenError as error:\n    print(json.dumps([type(error).__name__, error.message, error.hint]))"
    )
    env = {**os.environ, "HF_HOME": str(home), **settings}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    "uri",
    [
        "hf://org/model",
        "hf://org/model@main",
        "hf://org/model@v1.0",
        "hf://org/model@0123abc",
        "hf://org/model@refs/pr/1",
        f"hf://org/model@{COMMIT.upper()}",
        "hf://model",
        "hf://org/model@main/file.gguf",
    ],
)
def test_only_commits(uri: str) -> None:
    """Branches, tags and short hashes can move, so they are refused before anything is asked of the Hub."""
    with pytest.raises(SourceError) as caught:
        fetch(uri)
    assert "@<40-digit commit>" in str(caught.value.hint)


def test_the_hubs_cache_without_a_network(tmp_path: Path) -> None:
    """A snapshot that is there is found with HF_HUB_OFFLINE=1, whole or one file of it."""
    folder = snapshot(tmp_path, FILES)
    kind, path = ask(tmp_path, f"hf://org/model@{COMMIT}", HF_HUB_OFFLINE="1")
    assert (kind, file_digest(Path(path))) == ("path", file_digest(folder))
    kind, path = ask(tmp_path, f"hf://org/model@{COMMIT}/config.json", HF_HUB_OFFLINE="1")
    assert (kind, Path(path).read_bytes()) == ("path", b"{}")


def test_what_else_lies_in_the_cache_changes_nothing(tmp_path: Path) -> None:
    """Another program may have fetched the repository's pickles and code too: the folder's digest is the same."""
    plain, full = tmp_path / "plain", tmp_path / "full"
    folder = snapshot(plain, FILES)
    other = {"pytorch_model.bin": b"x", "modeling.py": b"x", "onnx/model.onnx": b"x"}
    snapshot(full, FILES | other)
    kind, path = ask(full, f"hf://org/model@{COMMIT}", HF_HUB_OFFLINE="1", COGEN_CACHE=str(tmp_path / "cache"))
    assert kind == "path"
    assert sorted(p.name for p in Path(path).rglob("*")) == sorted(FILES)
    assert file_digest(Path(path)) == file_digest(folder)


#: Nobody answers there; the client tries for 20 seconds.
SILENT = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize("file", ["", "/config.json"])
@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, pytest.param(SILENT, marks=pytest.mark.slow)])
def test_no_network(tmp_path: Path, settings: dict[str, str], file: str) -> None:
    """Told to be offline, or nobody answers: one line and what to do."""
    kind, message, hint = ask(tmp_path, f"hf://org/model@{COMMIT}{file}", **settings)
    assert (kind, message) == ("SourceError", "org/model is not in the Hub's cache and the Hub cannot be reached")
    assert "HF_HUB_OFFLINE" in hint
