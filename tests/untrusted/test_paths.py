"""Paths that no file system takes, and outputs that are neither files nor folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.tiny import save_adapter, save_model

from cogen.checkpoints.locate import locate
from cogen.cli.main import main
from cogen.errors import CogenError, UsageError
from cogen.files import atomic_folder, atomic_write
from cogen.merging.mergekit.reference import parse_reference
from cogen.merging.output_folder import check_output_folder
from cogen.settings import settings
from cogen.untrusted.paths import is_folder, is_there, user_path

ODD = ["~nobody-of-this-name/x", "x" * 5000, "a/" + "9" * 70_000, "\0", "a\0b", "\ud800", ""]


@pytest.mark.parametrize("text", ODD)
def test_no_paths(text: str) -> None:
    assert not is_folder(text) or text == ""
    assert not is_there(text) or text == ""
    assert isinstance(user_path(text), Path)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    assert is_folder("~")
    assert not is_folder("~/file")
    assert is_there("~/file")
    assert user_path("~/file") == tmp_path / "file"


@pytest.mark.parametrize("text", ODD[:4])
def test_where_a_model_is_named(text: str) -> None:
    """One line, or a name that is looked for elsewhere."""
    with pytest.raises(UsageError, match="is not here"):
        locate(text)
    if "\0" in text:
        with pytest.raises(ValueError, match="one line"):
            parse_reference(text)
    else:
        assert str(parse_reference(text)) == text


def test_a_setting_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(UsageError, match="COGEN_CACHE=~nobody-of-this-name/x: there is no such user"):
        settings()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """In the place of a device: it must not be replaced either, and a test may make one."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def is_pipe(path: Path) -> bool:
    return stat.S_ISFIFO(path.lstat().st_mode)


def test_a_folder_never_replaces_what_is_none(tmp_path: Path, pipe: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for path in (pipe, file):
        for replace in (True, False):
            with pytest.raises(CogenError, match="is not a folder"), atomic_folder(path, replace=replace):
                raise AssertionError("nothing is written")
        with pytest.raises(UsageError, match="is no folder" if path is pipe else "is a file"):
            check_output_folder(path)
    assert is_pipe(pipe)
    assert file.read_text() == "kept"


def test_a_file_goes_through_what_is_none(pipe: Path) -> None:
    """As a shell's redirection does; neither the pipe nor a link to it is replaced."""
    link = pipe.with_name("link")
    link.symlink_to(pipe)
    for path in (pipe, link):
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        atomic_write(path, b"all of it")
        assert os.read(reader, 100) == b"all of it"
        os.close(reader)
    assert is_pipe(pipe)
    assert link.is_symlink()
    assert sorted(path.name for path in pipe.parent.iterdir()) == ["link", "pipe"]


def test_every_command_that_writes_a_folder(tmp_path: Path, pipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and the pipe is one still."""
    model, adapter = save_model(tmp_path / "m", dtype="bfloat16"), save_adapter(tmp_path / "a")
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: {model}, parameters: {{weight: 1}}}}]\n")
    commands = [
        ("merge", recipe),
        ("adapter", "merge", model, adapter),
        ("adapter", "extract", model, model, "--rank", 1),
        ("new", "tiny-one", "--from", adapter, "--base", model),
        ("new", "tiny-one"),
        ("export", model, "--to", "fp8"),
    ]
    for command in commands:
        assert main([*map(str, command), "-o", str(pipe)]) in (1, 3), command
        found = capsys.readouterr().err
        assert "error:" in found
        assert "hint:" in found
        assert "Traceback" not in found
        assert "bug in cogen" not in found
        assert is_pipe(pipe), command
