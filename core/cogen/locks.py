"""One process at a time: a lock on a file, also where the file system has no locks or may not be written to.

``flock`` releases itself when its process dies, so it comes first. Network and user-space file systems answer it with
ENOLCK, EOPNOTSUPP, ENOSYS and others: there a file beside the lock names the process that holds it. A folder that
nobody may write to needs no lock: nothing in it can change.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cogen.errors import CogenError

#: What a file system says that is read-only, or that this user may only read.
READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_BUSY = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
#: Seconds between two looks at the file of another owner.
_POLL = 0.1


class ProcessLock:
    """A lock between processes, and between threads that have a :class:`ProcessLock` each.

    :param path: file that is locked; it is made, and stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Names the owner, where the file system has no locks.
        self.owner = path.with_name(f"{path.name}.owner")
        self._fd: int | None = None
        self._owns = False
        self._process = os.getpid()

    def __del__(self) -> None:
        """Whoever forgets a lock holds none; in a fork of its process it is the parent's still."""
        if self._process == os.getpid():
            with contextlib.suppress(Exception):
                self.release()

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; whether it is held now, which is always so with ``wait``.

        :raises OSError: the file can neither be made nor opened.
        :raises CogenError: the file system has no locks, and another machine's process is named as the owner.
        """
        while True:
            fd = _open(self.path)
            try:
                taken = _flock(fd, wait)
                if taken is None:
                    taken = self._take_owner(wait)
                    self._owns = taken
                elif taken and not _same_file(fd, self.path):  # `cogen cache clear` removed it meanwhile
                    os.close(fd)
                    continue
            except BaseException:
                os.close(fd)
                raise
            if taken:
                self._fd = fd
            else:
                os.close(fd)
            return taken

    def release(self) -> None:
        """Let the next one take it."""
        if self._owns:
            self.owner.unlink(missing_ok=True)
            self._owns = False
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                _unlock(fd)
            os.close(fd)

    def _take_owner(self, wait: bool) -> bool:
        while True:
            try:
                fd = os.open(self.owner, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                if self._drop_dead():
                    continue
                if not wait:
                    return False
                time.sleep(_POLL)
                continue
            with os.fdopen(fd, "w") as file:
                file.write(f"{place()} {os.getpid()}")
            return True

    def _drop_dead(self) -> bool:
        """Remove the file of an owner that does not live any more; whether it is gone.

        :raises CogenError: the owner is a process of another machine.
        """
        try:
            text = self.owner.read_text(encoding="utf-8")
            age = time.time() - self.owner.stat().st_mtime
        except FileNotFoundError:
            return True
        where, _, pid = text.partition(" ")
        if not pid.isdigit():  # made a moment ago, and not written yet; or its writer was killed in between
            dead = age > 10
        elif where == place():
            dead = not alive(int(pid))
        else:
            raise CogenError(
                f"process {pid} of another machine or container holds {self.path}, or was killed there",
                hint=f"wait until it has ended; if it has, delete {self.owner}: this file system has no locks",
            )
        if not dead:
            return False
        # By its name: of two that find it dead, one moves it, and the other finds a new one.
        aside = self.owner.with_name(f"{self.owner.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            self.owner.rename(aside)
            aside.unlink()
        return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time per ``path``: a second one waits, so a download happens once.

    Where nothing can be written there is nothing to wait for, and no lock is taken.
    """
    lock = ProcessLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
    try:
        yield
    finally:
        lock.release()


def hold(folder: Path) -> int | None:
    """A descriptor that marks ``folder`` as in use until it is closed, or this process dies.

    ``None`` where folders have no locks.
    """
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return None
    try:
        if _flock(fd, wait=False):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def in_use(path: Path) -> bool | None:
    """Whether a process that lives holds ``path`` by :func:`hold`; ``None`` where that cannot be found out."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        taken = _flock(fd, wait=False)
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if taken is None else not taken


def alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


@cache
def place() -> str:
    """Where process numbers mean what they mean here: this machine, or this container of it."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no file: a name)
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno not in READ_ONLY or not path.exists():
            raise
        return os.open(path, os.O_RDONLY)  # made by another user: it can be locked all the same


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _flock(fd: int, wait: bool) -> bool | None:
    """Whether the lock is held now; ``None``: this file system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return _lock_windows(fd, wait)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _BUSY and not wait else None
    return True


def _lock_windows(fd: int, wait: bool) -> bool:
    import msvcrt

    while True:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            if not wait:
                return False
            time.sleep(_POLL)
        else:
            return True


def _unlock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)
