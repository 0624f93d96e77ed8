"""Entries of a cache that may only be read, and what killed processes leave in one that may be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.readonly import read_only, run_without_privileges

from cogen import cache
from cogen.cache import cached, check_writable, notice, one_process, scratch, sweep_cache, writable
from cogen.errors import CogenError, UsageError
from cogen.files import _is_special, atomic_folder, atomic_write, part_name
from cogen.locks import hold, place
from cogen.merging.lora.write import _check_empty
from cogen.merging.output_folder import check_output_folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "cache"
    home.mkdir()
    monkeypatch.setenv("COGEN_CACHE", str(home))
    for known in (cache._writable, cache._sweep_once):
        known.cache_clear()
    yield home
    for known in (cache._writable, cache._sweep_once):
        known.cache_clear()


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestCached:
    """What is there is read where it is; what is not is made where it can be."""

    def test_in_a_cache_that_can_be_written(self, home: Path) -> None:
        assert cached("a", "b") == home / "a" / "b"
        assert notice() is None
        assert list(home.iterdir()) == []

    def test_in_one_that_cannot(self, home: Path) -> None:
        """In a process that obeys permissions, also where the tests run as root."""
        (home / "states").mkdir()
        (home / "states" / "known").write_text("known")
        with read_only(home):
            run = run_without_privileges(
                "from cogen.cache import cached, notice, scratch, writable\n"
                "from cogen.files import atomic_folder, atomic_write, cache_dir, locked\n"
                "assert not writable(cache_dir())\n"
                "known = cached('states', 'known')\n"
                "assert known == cache_dir() / 'states' / 'known' and known.read_text() == 'known'\n"
                "assert notice() is None\n"
                "new = cached('states', 'new')\n"
                "with locked(new), atomic_folder(new) as part:\n    (part / 'x').write_text('x')\n"
                "assert cached('states', 'new') == new and (new / 'x').is_file()\n"
                "atomic_write(cached('results', 'r.json'), b'{}')\n"
                "with scratch('step') as folder:\n    (folder / 'y').write_text('y')\n"
                "assert not folder.exists()\n"
                "print(new)\nprint(notice())\n"
            )
        assert run.returncode == 0, run.stderr
        new, output = run.stdout.splitlines()
        assert "read-only" in output
        assert not Path(new).exists()  # its folder went with the process
        assert sorted(path.name for path in home.rglob("*")) == ["known", "states"]

    def test_what_has_to_be_kept(self, home: Path) -> None:
        check_writable("a training keeps its checkpoints there")
        with read_only(home):
            run = run_without_privileges(
                "from cogen.cache import check_writable\nfrom cogen.errors import CogenError\n"
                "try:\n    check_writable('a training keeps its checkpoints there')\n"
                "except CogenError as error:\n    print(error.message, '|', error.hint)\n"
            )
        assert run.returncode == 0, run.stderr
        assert f"the cache folder {home} is read-only" in run.stdout
        assert "COGEN_CACHE" in run.stdout

    def test_network_file_systems_promise_too_much(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """access() allows what open() then refuses; a full disk is no read-only one."""

        def refusing(number: int) -> None:
            def mkstemp(**_: object) -> tuple[int, str]:
                raise OSError(number, os.strerror(number))

            monkeypatch.setattr("tempfile.mkstemp", mkstemp)
            cache._writable.cache_clear()

        refusing(13)
        assert not writable(home)
        refusing(28)
        assert writable(home)

    def test_one_process_in_a_cache_that_cannot_be_written(self, home: Path, tmp_path: Path) -> None:
        """Processes meet elsewhere."""
        for shut in (False, True):
            code = "from cogen.cache import one_process\nwith one_process('writing', 'x') as alone:\n    print(alone)\n"
            inside = code + (
                f"    import subprocess, sys\n    run = [sys.executable, '-c', {code!r}]\n"
                "    print(subprocess.run(run, capture_output=True, text=True, check=True).stdout)\n"
            )
            if shut:
                with read_only(home):
                    run = run_without_privileges(inside, TMPDIR=str(tmp_path))
            else:
                run = run_without_privileges(inside, TMPDIR=str(tmp_path))
            assert run.returncode == 0, run.stderr
            assert run.stdout.split() == ["True", "False"]
        with one_process("writing", "y") as alone:
            assert alone


class TestSweep:
    """Leftovers go; what a living process has, and what is an entry, stays."""

    def test_a_step_leaves_nothing(self, home: Path) -> None:
        with scratch("publish", "pypi") as folder:
            assert folder.parent == home / "pypi"
            assert folder.stat().st_mode & 0o777 == 0o700
        assert list((home / "pypi").iterdir()) == []

    def test_killed_processes(self, home: Path) -> None:
        run = subprocess.run(
            [
                sys.executable,
                "-c",
                "import os, signal\nfrom cogen.cache import cached, scratch\nfrom cogen.files import atomic_folder\n"
                "with scratch('publish') as folder, atomic_folder(cached('states', 'x')) as part:\n"
                "    (folder / 'secret').write_text('secret')\n    os.kill(os.getpid(), signal.SIGKILL)\n",
            ],
            check=False,
        )
        assert run.returncode == -9
        (home / "results").mkdir()
        (home / "results" / f".r.json.{dead()}.0123abcd-{place()}.part").write_text("{")
        (home / "results" / "r.json").write_text("{}")
        assert len([path for path in home.rglob("*") if path.name.startswith(".")]) == 3
        sweep_cache()
        assert [path.name for path in home.rglob("*") if path.name.startswith(".")] == []
        assert (home / "results" / "r.json").is_file()

    def test_living_processes(self, home: Path) -> None:
        with scratch("publish") as folder, atomic_folder(cached("states", "x")) as part:
            cache._sweep_once.cache_clear()
            sweep_cache()
            assert folder.is_dir()
            assert part.is_dir()

    def test_one_of_another_container_lives(self, home: Path) -> None:
        """Its number is dead here, and it holds its folder."""
        folder = home / part_name("publish").replace(str(os.getpid()), str(dead()))
        folder.mkdir()
        fd = hold(folder)
        assert fd is not None
        sweep_cache()
        assert folder.is_dir()
        os.close(fd)
        cache._sweep_once.cache_clear()
        sweep_cache()
        assert not folder.exists()

    def test_folders_of_earlier_versions(self, home: Path) -> None:
        """They have no lock, and some no number: they go when they are a day old."""
        names = [f".publish.{dead()}.k2x9abcd", ".mixture.k2x9abcd", ".candidates.k2x9abcd", "pypi/.wheels.k2x9abcd"]
        own = home / f".publish.{os.getpid()}.k2x9abcd"
        for folder in [*(home / name for name in names), own]:
            folder.mkdir(parents=True)
        sweep_cache()
        assert all((home / name).is_dir() for name in names)
        for folder in [*(home / name for name in names), own]:
            os.utime(folder, (time.time() - 2 * 86_400,) * 2)
        cache._sweep_once.cache_clear()
        sweep_cache()
        assert not any((home / name).exists() for name in names)
        assert own.is_dir()


def test_a_cache_in_the_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(CogenError, match="cannot be made"):
        cached("x")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_device_never_becomes_a_folder(pipe: Path) -> None:
    """As root, ``-o /dev/null`` gave its name to a folder, for every process of the machine."""
    with pytest.raises(CogenError, match="pipe is not a folder"), atomic_folder(pipe, replace=True):
        pytest.fail("it was begun")
    for check in (check_output_folder, _check_empty):
        with pytest.raises(UsageError, match=r"is a file|is no folder|exists already"):
            check(pipe)
    assert pipe.is_fifo()
    assert sorted(path.name for path in pipe.parent.iterdir()) == ["cache", "pipe"]


def test_a_device_is_written_to(pipe: Path) -> None:
    """``cogen plan -o /dev/stdout`` writes there, and ``/dev/null`` stays what it is."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(pipe, b"data")
    assert os.read(reader, 10) == b"data"
    os.close(reader)
    assert pipe.is_fifo()
    # Not tried with the real ones: a mistake would take them away from every process of the machine.
    assert all(_is_special(Path(name)) for name in ("/dev/null", "/dev/stdout", "/proc/self/fd/1"))
    assert not any(_is_special(path) for path in (pipe.parent / "file", pipe.parent, Path("/dev/shm/cache/file")))


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(CogenError, match="x is not a folder"), atomic_folder(tmp_path / "x", replace=True):
        pytest.fail("it was begun")
    assert (tmp_path / "x").read_text() == "mine"
