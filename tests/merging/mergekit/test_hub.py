"""Models of the Hub, by its client's own cache and without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMIT, OLD = "0123456789abcdef0123456789abcdef01234567", "f" * 40
FILES = {"config.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}


def cached(home: Path, repository: str, commit: str, files: dict[str, bytes], *refs: str) -> Path:
    """A repository as the Hub's client caches it, and the branches and tags that it knows of."""
    repo = home / "hub" / f"models--{repository.replace('/', '--')}"
    folder = repo / "snapshots" / commit
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (repo / "refs").mkdir(exist_ok=True)
    for ref in refs:
        (repo / "refs" / ref).write_text(commit)
    return folder


def locate(home: Path, path: str, revision: str | None = None) -> Any:
    """In a new process, since the client reads its settings when it is imported: folder and commit, or the error."""
    code = (
        "import json\nfrom cogen.errors import CogenError\nfrom cogen.merging.mergekit.models import locate\n"
        "from cogen.merging.mergekit.reference import ModelLocation\n"
        f"try:\n    folder, commit = locate(ModelLocation({path!r}, {revision!r}))\n"
        "    print(json.dumps([str(folder), commit]))\n"
        "except CogenError as error:\n    print(json.dumps([type(error).__name__, error.message, error.hint]))"
    )
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "COGEN_CACHE": str(home / "cogen")}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=home, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_branch_is_the_commit_that_it_was(tmp_path: Path) -> None:
    """Without a network: the main branch, a tag, a commit."""
    new = cached(tmp_path, "org/model", COMMIT, FILES, "main")
    old = cached(tmp_path, "org/model", OLD, FILES, "v1")
    assert locate(tmp_path, "org/model") == [str(new), COMMIT]
    assert locate(tmp_path, "org/model", "v1") == [str(old), OLD]
    assert locate(tmp_path, "org/model", COMMIT) == [str(new), COMMIT]


@pytest.mark.parametrize("revision", [None, "v2"])
def test_what_is_not_cached_is_refused(tmp_path: Path, revision: str | None) -> None:
    """One line that names it, and what to do."""
    cached(tmp_path, "org/other", COMMIT, FILES, "main")
    kind, message, hint = locate(tmp_path, "org/model", revision)
    name = "org/model" if revision is None else "org/model@v2"
    assert (kind, message) == (
        "SourceError",
        f"{name} is neither a local folder nor in the Hub's cache, and the Hub cannot be reached",
    )
    assert "HF_HUB_OFFLINE" in hint


def test_pickles_of_the_hub(tmp_path: Path) -> None:
    """A repository without safetensors is refused, also where its pickle is in the cache."""
    cached(tmp_path, "org/model", COMMIT, {"config.json": b"{}", "pytorch_model.bin": b"x"}, "main")
    kind, message, _ = locate(tmp_path, "org/model")
    assert (kind, message.split(";")[0]) == ("UnsafeError", "org/model has no safetensors weights")
