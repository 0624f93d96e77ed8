"""Every error of the operating system is one line that names the file, and a hint."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.cli.errors import explain
from cogen.cli.main import main
from cogen.errors import CogenError
from cogen.files import atomic_folder, atomic_write
from cogen.system_errors import describe, find_in, naming

#: All that this system knows, but what a closed pipe gives: that is no mistake.
ALL = sorted(set(errno.errorcode) - {errno.EPIPE, errno.ESHUTDOWN, errno.EINTR})


@pytest.mark.parametrize("number", ALL, ids=lambda number: errno.errorcode[number])
def test_every_kind(number: int) -> None:
    found = explain(OSError(number, os.strerror(number), "/models/a b.safetensors"))
    assert found is not None
    assert "\n" not in found.message
    assert "/models/a b.safetensors" in found.message or "connection" in found.message
    assert found.hint
    assert found.exit_code == 1
    unnamed = explain(OSError(number, os.strerror(number)))
    assert unnamed is not None
    assert unnamed.message
    assert unnamed.hint
    assert "{}" not in found.message + unnamed.message


@pytest.mark.parametrize(
    ("number", "message", "hint"),
    [
        (errno.ENOSPC, "no space left on the disk for /x", "free some space"),
        (errno.EDQUOT, "your quota of disk space is used up: /x", "free some space"),
        (errno.EROFS, "/x is on a read-only file system", "-o"),
        (errno.EACCES, "no permission for /x", "permissions"),
        (errno.ENAMETOOLONG, "the name is too long: /x", "shorter"),
        (errno.EISDIR, "/x: Is a directory", "another path"),
        (errno.ELOOP, "symbolic links lead in a circle: /x", "links"),
        (errno.EMFILE, "too many open files: /x", "ulimit -n"),
        (errno.ESTALE, "the file has gone from its server: /x", "mounted"),
        (errno.EIO, "the disk gave an input/output error: /x", "disk"),
        (errno.ENOMEM, "out of memory: /x", "programs"),
        (errno.ENOENT, "/x does not exist", "spelling"),
    ],
)
def test_what_it_says(number: int, message: str, hint: str) -> None:
    output = describe(OSError(number, os.strerror(number), "/x"))
    assert output[0] == message
    assert hint in output[1]


def test_odd_ones() -> None:
    """Without a number, without a text, with a line break in the file's name, with a descriptor for a name."""
    assert describe(OSError()) == ("OSError", "check the disk, the network and the permissions")
    assert describe(OSError("no tokenizer\nthere"))[0] == "no tokenizer there"
    assert describe(FileNotFoundError(errno.ENOENT, "no", "/a\nb"))[0] == "/a b does not exist"
    assert describe(OSError(errno.EBADF, "Bad file descriptor", 7))[0] == "Bad file descriptor"


def test_of_libraries_in_other_languages() -> None:
    """safetensors and tokenizers give the system's number in a text; torch not even that."""
    found = explain(RuntimeError("Error while serializing: IoError(No space left on device (os error 28))"))
    assert found is not None
    assert found.message == "no space left on the disk"
    torch = explain(RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file"))
    assert torch is not None
    assert "disk is full" in torch.message
    assert find_in("an (error 28)") is None
    assert explain(RuntimeError("index 28 is out of range")) is None


def test_writing_to_an_open_file_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python gives such an error no name; one that has a name keeps it, and an error of another kind is left alone."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_write(tmp_path / "x", b"x")
    assert caught.value.filename == str(tmp_path / "x")
    import torch

    with pytest.raises(OSError, match="No space left") as caught, atomic_folder(tmp_path / "y") as part:
        write_safetensors(part / "z.safetensors", {"z": torch.zeros(1)})
    assert caught.value.filename == str(tmp_path / "y")
    with pytest.raises(OSError, match="other") as caught, naming(tmp_path / "z"):
        raise OSError(errno.ENOSPC, "No space left on device", "/other")
    with pytest.raises(ConnectionResetError) as reset, naming(tmp_path / "z"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
    assert reset.value.filename is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The hint fits what is wrong."""
    with pytest.raises(CogenError, match="too long") as caught, atomic_folder(tmp_path / ("x" * 300) / "y"):
        pass
    assert caught.value.hint == "choose a shorter path"
    (tmp_path / "file").write_text("")
    with pytest.raises(CogenError, match="file: File exists"), atomic_folder(tmp_path / "file" / "y"):
        pass


@pytest.mark.parametrize("name", ["loop", "x" * 300, "."])
@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "--recipe"],
        ["merge", "-o", "out"],
        ["train"],
        ["audit"],
        ["digest"],
        ["eval"],
        ["chat"],
        ["check"],
        ["scan"],
        ["show"],
        ["fuse", "--lock"],
        ["fuse", "--recipe"],
        ["update"],
        ["adapter", "extract", "there", "-o", "out"],
    ],
    ids=" ".join,
)
def test_paths_that_nobody_can_open(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    name: str,
) -> None:
    """Too long, a circle of links, a folder where a file is wanted: one line on every verb, never a traceback."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert main([*arguments, name]) in (1, 3)
    output = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in output] == ["error", "hint"], output
