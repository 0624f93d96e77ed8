"""A run into the folder of an old composite replaces what CoGen wrote there and keeps what it did not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.tiny import save_model

import cogen
from cogen.cli.main import main
from cogen.merging.own_files import keep_own_files


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A composite with its lock, and files of its user beside it."""
    folder = tmp_path / "old"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("README.md", "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (folder / name).write_text(f"old {name}")
    (folder / "1_Pooling" / "config.json").write_text("old")
    (folder / "cogen.lock").write_text(json.dumps({"files": {"config.json": "", "1_Pooling/config.json": ""}}))
    (folder / "notes.md").write_text("mine")
    (folder / "runs" / "deep").mkdir(parents=True)
    (folder / "runs" / "deep" / "log").write_text("mine")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("mine")
    (folder / "latest").symlink_to("notes.md")
    return folder


def test_keeps_the_users(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "config.json").write_text("new")
    assert keep_own_files(old, new) == [".git", "latest", "notes.md", "runs"]
    assert sorted(path.name for path in new.iterdir()) == [".git", "config.json", "latest", "notes.md", "runs"]
    assert (new / "config.json").read_text() == "new"
    assert (new / "runs" / "deep" / "log").read_text() == "mine"
    assert (new / "latest").readlink() == Path("notes.md")
    assert (new / "notes.md").samefile(old / "notes.md")  # a link: a large file costs nothing


def test_a_file_system_without_links(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", failing)
    (tmp_path / "new").mkdir()
    keep_own_files(old, tmp_path / "new")
    assert (tmp_path / "new" / "notes.md").read_text() == "mine"
    assert not (tmp_path / "new" / "notes.md").samefile(old / "notes.md")


def test_a_name_that_the_new_one_uses(old: Path, tmp_path: Path) -> None:
    """The same content is the same file; other content is kept under another name."""
    new = tmp_path / "new"
    (new / "runs" / "deep").mkdir(parents=True)
    (new / "runs" / "deep" / "log").write_text("mine")
    (new / "notes.md").write_text("new")
    assert keep_own_files(old, new) == [".git", "latest", "notes.md.kept"]
    assert (new / "notes.md").read_text() == "new"
    assert (new / "notes.md.kept").read_text() == "mine"


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert keep_own_files(tmp_path / "old", tmp_path / "new") == []


def test_merge_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen merge` into its own folder, with one weights file where there were shards: no shard stays."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    for seed in (1, 2):
        save_model(tmp_path / str(seed), seed, "bfloat16")
    recipe = tmp_path / "r.yml"
    recipe.write_text(
        f"merge_method: linear\ndtype: bfloat16\nmodels:\n  - model: {tmp_path / '1'}\n    parameters: {{weight: 1}}\n"
        f"  - model: {tmp_path / '2'}\n    parameters: {{weight: 1}}\n"
    )
    out = tmp_path / "out"
    cogen.merge(recipe, out, shard_size=50_000)
    assert len(list(out.glob("model-*.safetensors"))) > 1
    written = {path.name for path in out.iterdir()}
    (out / "notes.md").write_text("mine")
    capsys.readouterr()
    assert main(["merge", str(recipe), "-o", str(out)]) == 0
    assert "notes.md" in capsys.readouterr().err
    assert (out / "notes.md").read_text() == "mine"
    kept = {name for name in written if not name.startswith("model")}
    now = {*kept, "notes.md", "model.safetensors", "model.safetensors.index.json"}
    assert {path.name for path in out.iterdir()} == now
