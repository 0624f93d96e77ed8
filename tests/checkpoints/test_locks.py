"""One process at a time, also where the file system has no locks or may not be written to."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cogen.errors import CogenError
from cogen.files import atomic_folder, locked
from cogen.locks import ProcessLock, hold, in_use, place

#: What file systems without locks answer.
LOCKLESS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO]


def raising(number: int) -> Callable[[int, int], None]:
    def flock(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestLock:
    """The same with and without locks of the file system."""

    @pytest.mark.parametrize("number", [None, *LOCKLESS])
    def test_one_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
        if number is not None:
            monkeypatch.setattr(fcntl, "flock", raising(number))
        first, second = ProcessLock(tmp_path / "x.lock"), ProcessLock(tmp_path / "x.lock")
        assert first.acquire(wait=False)
        assert not second.acquire(wait=False)
        first.release()
        assert second.acquire(wait=False)
        second.release()
        assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]

    @pytest.mark.parametrize("number", [None, *LOCKLESS])
    def test_the_second_waits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
        """Until the first one is done, and not for ever."""
        if number is not None:
            monkeypatch.setattr(fcntl, "flock", raising(number))
        order, inside = [], threading.Event()

        def second() -> None:
            inside.wait(30)
            with locked(tmp_path / "x"):
                order.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        with locked(tmp_path / "x"):
            inside.set()
            time.sleep(0.2)
            order.append("first")
        thread.join(30)
        assert order == ["first", "second"]

    def test_a_dead_owner_holds_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fcntl, "flock", raising(errno.ENOLCK))
        lock = ProcessLock(tmp_path / "x.lock")
        lock.owner.write_text(f"{place()} {dead()}")
        assert lock.acquire(wait=False)
        lock.release()
        assert not lock.owner.exists()

    def test_an_owner_killed_before_it_signed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty file of just now may be about to be written; an old one is nobody's."""
        monkeypatch.setattr(fcntl, "flock", raising(errno.ENOLCK))
        lock = ProcessLock(tmp_path / "x.lock")
        lock.owner.write_text("")
        assert not lock.acquire(wait=False)
        os.utime(lock.owner, (time.time() - 60,) * 2)
        assert lock.acquire(wait=False)
        lock.release()

    def test_an_owner_elsewhere_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether it lives cannot be known: no waiting for ever."""
        monkeypatch.setattr(fcntl, "flock", raising(errno.ENOLCK))
        lock = ProcessLock(tmp_path / "x.lock")
        lock.owner.write_text("0123abcd 7")
        with pytest.raises(CogenError, match="process 7 of another machine") as caught:
            lock.acquire()
        assert str(lock.owner) in str(caught.value.hint)

    def test_who_forgets_it_holds_none(self, tmp_path: Path) -> None:
        """And a fork that ends does not release its parent's."""
        first, second = ProcessLock(tmp_path / "x.lock"), ProcessLock(tmp_path / "x.lock")
        assert first.acquire(wait=False)
        if (child := os.fork()) == 0:
            del first
            os._exit(0)
        os.waitpid(child, 0)
        assert not second.acquire(wait=False)
        del first
        assert second.acquire(wait=False)
        second.release()

    def test_the_lock_file_was_removed_meanwhile(self, tmp_path: Path) -> None:
        """By `cogen cache clear`: the lock is one on the file that everybody finds."""
        first = ProcessLock(tmp_path / "x.lock")
        assert first.acquire()
        (tmp_path / "x.lock").unlink()
        second, third = ProcessLock(tmp_path / "x.lock"), ProcessLock(tmp_path / "x.lock")
        assert second.acquire(wait=False)
        assert not third.acquire(wait=False)
        first.release()
        second.release()

    def test_where_nothing_can_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A lock that is there is taken; where none is, none is needed; other errors are errors."""
        opened = os.open

        def refusing(number: int) -> None:
            def open(path: Path | str, flags: int, *args: int) -> int:
                if flags & os.O_CREAT:
                    raise OSError(number, os.strerror(number), str(path))
                return opened(path, flags, *args)

            monkeypatch.setattr(os, "open", open)

        for number in (errno.EROFS, errno.EACCES, errno.EPERM):
            refusing(number)
            with locked(tmp_path / "x"):
                assert not list(tmp_path.iterdir())
        refusing(errno.ENOSPC)
        with pytest.raises(OSError, match="No space left"), locked(tmp_path / "x"):
            pass
        monkeypatch.setattr(os, "open", opened)
        (tmp_path / "x.lock").touch()
        refusing(errno.EROFS)
        first, second = ProcessLock(tmp_path / "x.lock"), ProcessLock(tmp_path / "x.lock")
        assert first.acquire(wait=False)
        assert not second.acquire(wait=False)
        first.release()


class TestHold:
    """Whether the process that makes a folder lives is said by a lock on the folder."""

    def test_while_it_is_open(self, tmp_path: Path) -> None:
        assert in_use(tmp_path) is False
        fd = hold(tmp_path)
        assert fd is not None
        assert in_use(tmp_path) is True
        os.close(fd)
        assert in_use(tmp_path) is False

    def test_without_locks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fcntl, "flock", raising(errno.ENOLCK))
        assert hold(tmp_path) is None
        assert in_use(tmp_path) is None

    def test_a_number_that_is_another_process_now(self, tmp_path: Path) -> None:
        """A living process of another container has a number that is dead here: the lock says that it lives."""
        part = tmp_path / f".x.{dead()}.0123abcd-{place()}.part"
        part.mkdir()
        fd = hold(part)
        assert fd is not None
        with atomic_folder(tmp_path / "x"):
            assert part.is_dir()
        os.close(fd)
        with atomic_folder(tmp_path / "x", replace=True):
            assert not part.exists()

    def test_of_another_machine(self, tmp_path: Path) -> None:
        """Its number says nothing here: what it left goes after a week."""
        part = tmp_path / f".x.{dead()}.0123abcd-0123abcd.part"
        part.mkdir()
        with atomic_folder(tmp_path / "x"):
            assert part.is_dir()
        os.utime(part, (time.time() - 8 * 86_400,) * 2)
        with atomic_folder(tmp_path / "x", replace=True):
            assert not part.exists()
