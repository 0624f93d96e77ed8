"""Whole or not at all, also when the process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cogen import files
from cogen.errors import CogenError
from cogen.files import atomic_folder, atomic_write, cache_dir

KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def killed(code: str) -> None:
    """Run code that kills its own process."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAtomicFolder:
    """The final name holds a whole folder or what was there before."""

    def test_appears_whole(self, tmp_path: Path) -> None:
        """Nothing has the final name before the block ends."""
        with atomic_folder(tmp_path / "x") as part:
            (part / "file").write_text("new")
            assert not (tmp_path / "x").exists()
        assert (tmp_path / "x" / "file").read_text() == "new"
        assert left(tmp_path) == ["x"]

    def test_the_first_wins(self, tmp_path: Path) -> None:
        """Without `replace` a folder that another process made stays."""
        with atomic_folder(tmp_path / "x") as part:
            (part / "file").write_text("mine")
            (tmp_path / "x").mkdir()
        assert left(tmp_path) == ["x"]
        assert left(tmp_path / "x") == []

    def test_replaces(self, tmp_path: Path) -> None:
        """With `replace` the old folder is there until the new one is whole, then gone."""
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "old").write_text("old")
        with atomic_folder(tmp_path / "x", replace=True) as part:
            (part / "new").write_text("new")
            assert left(tmp_path / "x") == ["old"]
        assert left(tmp_path / "x") == ["new"]
        assert left(tmp_path) == ["x"]

    def test_an_error_leaves_the_old_one(self, tmp_path: Path) -> None:
        """And nothing of the new one."""
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "old").write_text("old")

        def fail() -> None:
            with atomic_folder(tmp_path / "x", replace=True) as part:
                (part / "new").write_text("new")
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            fail()
        assert left(tmp_path / "x") == ["old"]
        assert left(tmp_path) == ["x"]

    def test_a_failing_swap_restores_the_old_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the new folder cannot take the name, the old one gets it back."""
        (tmp_path / "x").mkdir()
        rename = Path.rename
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)

        def failing(self: Path, target: Path) -> Path:
            if self.suffix == ".part":
                raise PermissionError(13, "no")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(PermissionError), atomic_folder(tmp_path / "x", replace=True):
            pass
        assert left(tmp_path) == ["x"]

    @pytest.mark.parametrize("replace", [False, True])
    def test_a_killed_process_leaves_no_folder(self, tmp_path: Path, replace: bool) -> None:
        """The next run sweeps what it left, and what a living process has stays."""
        target = tmp_path / "x"
        if replace:
            target.mkdir()
            (target / "old").write_text("old")
        killed(
            "from pathlib import Path\nfrom cogen.files import atomic_folder\n"
            f"with atomic_folder(Path({str(target)!r}), replace={replace}) as part:\n"
            f"    (part / 'half').write_text('half')\n    {KILL}"
        )
        assert target.exists() == replace
        assert len(left(tmp_path)) == 1 + replace
        living = tmp_path / f".x.{os.getpid()}.abc.part"
        living.mkdir()
        with atomic_folder(target, replace=True) as part:
            (part / "new").write_text("new")
        assert left(tmp_path) == [living.name, "x"]
        assert left(target) == ["new"]

    def test_killed_between_the_two_renames(self, tmp_path: Path) -> None:
        """The moment in which neither has the name: the next run gives the old folder its name back."""
        target = tmp_path / "x"
        target.mkdir()
        (target / "old").write_text("old")
        killed(
            "from pathlib import Path\nfrom cogen import files\nfrom cogen.files import atomic_folder\n"
            "files._exchange = lambda one, other: False\nrename = Path.rename\n"
            "def once(self, target):\n    rename(self, target)\n"
            f"    {KILL}\n"
            "Path.rename = once\n"
            f"with atomic_folder(Path({str(target)!r}), replace=True) as part:\n    pass\n"
        )
        assert not target.exists()
        with atomic_folder(target):
            assert left(target) == ["old"]
        assert left(tmp_path) == ["x"]
        assert left(target) == ["old"]

    @pytest.mark.skipif(sys.platform != "linux", reason="two names are exchanged in one step on Linux alone")
    def test_killed_after_the_exchange(self, tmp_path: Path) -> None:
        """There is no moment in which neither has the name; what is left of the old one goes with the next run."""
        target = tmp_path / "x"
        target.mkdir()
        (target / "old").write_text("old")
        killed(
            "from pathlib import Path\nfrom cogen import files\nexchange = files._exchange\n"
            f"def once(one, other):\n    assert exchange(one, other)\n    {KILL}\n"
            "files._exchange = once\n"
            f"with files.atomic_folder(Path({str(target)!r}), replace=True) as part:\n"
            "    (part / 'new').write_text('new')\n"
        )
        assert left(target) == ["new"]
        assert len(left(tmp_path)) == 2
        with atomic_folder(target, replace=True):
            assert left(target) == ["new"]
        assert left(tmp_path) == ["x"]

    def test_killed_while_the_old_one_is_deleted(self, tmp_path: Path) -> None:
        """The new folder has the name; the rest of the old one is swept by the next run."""
        (tmp_path / "x").mkdir()
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (tmp_path / f".x.{dead.pid}.abc.old").mkdir()
        with atomic_folder(tmp_path / "x", replace=True):
            pass
        assert left(tmp_path) == ["x"]

    def test_sweeping_takes_only_its_own(self, tmp_path: Path) -> None:
        """A neighbour whose name begins alike, and names with wildcards in them, are left alone."""
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        neighbour = tmp_path / f".x.{dead.pid}.{os.getpid()}.abc.part"  # of the folder "x.<pid>", and alive
        neighbour.mkdir()
        with atomic_folder(tmp_path / "x"):
            pass
        assert neighbour.is_dir()
        mine = tmp_path / f".[x].{dead.pid}.abc.part"
        mine.mkdir()
        with atomic_folder(tmp_path / "[x]"):
            pass
        assert not mine.exists()

    @pytest.mark.parametrize("letters", [1, 200, 250, 255])
    def test_long_names(self, tmp_path: Path, letters: int) -> None:
        """Every name that the file system takes."""
        path = tmp_path / ("x" * letters)
        atomic_write(path, b"one")
        path.unlink()
        with atomic_folder(path) as part:
            (part / "file").write_text("new")
        assert left(tmp_path) == [path.name]


class TestAtomicWrite:
    """A reader sees the old file or the whole new one."""

    def test_replaces(self, tmp_path: Path) -> None:
        """Folders are made; the file is readable by others as a plain file is."""
        atomic_write(tmp_path / "a" / "x", b"one")
        atomic_write(tmp_path / "a" / "x", b"two")
        assert (tmp_path / "a" / "x").read_bytes() == b"two"
        assert left(tmp_path / "a") == ["x"]

    def test_an_error_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And no temporary one."""
        atomic_write(tmp_path / "x", b"one")

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            atomic_write(tmp_path / "x", b"two")
        assert (tmp_path / "x").read_bytes() == b"one"
        assert left(tmp_path) == ["x"]

    def test_a_killed_process_leaves_the_old_file(self, tmp_path: Path) -> None:
        """The next write of the same file sweeps what it left."""
        target = tmp_path / "x"
        target.write_bytes(b"old")
        killed(
            "import os\nfrom pathlib import Path\nfrom cogen.files import atomic_write\n"
            f"def kill(handle):\n    {KILL}\n"
            f"os.fsync = kill\natomic_write(Path({str(target)!r}), b'new')"
        )
        assert target.read_bytes() == b"old"
        assert len(left(tmp_path)) == 2
        atomic_write(target, b"new")
        assert target.read_bytes() == b"new"
        assert left(tmp_path) == ["x"]


def test_two_processes_do_the_work_once(tmp_path: Path) -> None:
    """The second one waits at the lock and finds what the first one made."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom cogen.files import atomic_folder, locked\n"
        f"home = Path({str(tmp_path / 'home')!r})\n"
        "with locked(home):\n"
        "    if not home.exists():\n"
        "        with atomic_folder(home) as part:\n            time.sleep(0.5)\n            print('worked')\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert "".join(run.communicate()[0] for run in runs) == "worked\n"
    assert [run.returncode for run in runs] == [0, 0, 0]


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and which variable to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CogenError, match="cannot be made") as caught:
        cache_dir()
    assert "COGEN_CACHE" in str(caught.value.hint)
