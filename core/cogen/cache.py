"""Entries of the cache, and folders for the length of one step: also where the cache may only be read.

A cache that others filled, on a read-only file system or of another user, serves all that it holds. What it lacks is
computed into a temporary folder of this process and is gone with it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cogen.errors import CogenError
from cogen.files import cache_dir, part_name, sweep
from cogen.locks import READ_ONLY, ProcessLock, alive, hold

#: Folders for one step, as earlier versions called them.
_FORMER = re.compile(r"\.(publish|mixture|adapter|tokenizer|candidates|forecast|first|wheels)\.(?:(?P<pid>\d+)\.)?\w+")
_DAY = 86_400


def cached(*names: str) -> Path:
    """Path of an entry of the cache, such as ``cached("results", "abc.json")``; it need not exist.

    It is in the cache if it is there already or can be made there, else in a folder that this process removes.

    :raises CogenError: there is no cache folder, and none can be made.
    """
    path = cache_dir().joinpath(*names)
    return path if path.exists() or writable(path.parent) else temporary(*names)


def temporary(*names: str) -> Path:
    """Path of such an entry in the folder that this process removes."""
    return _overlay().joinpath(*names)


def check_writable(what: str) -> None:
    """:raises CogenError: the cache is read-only; ``what`` says what has to be kept there."""
    if not writable(cache_dir()):
        raise CogenError(
            f"the cache folder {cache_dir()} is read-only, and {what}",
            hint="set COGEN_CACHE to a folder that you may write to",
        )


def writable(folder: Path) -> bool:
    """Whether something can be made in ``folder``, or in the nearest folder above it that exists."""
    while not folder.is_dir():
        if folder == folder.parent:
            return False
        folder = folder.parent
    return _writable(folder)


@functools.cache
def _writable(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:  # network file systems promise what they do not keep
        handle, name = tempfile.mkstemp(dir=folder, prefix=".writable.")
    except OSError as error:
        return error.errno not in READ_ONLY
    os.close(handle)
    Path(name).unlink()
    return True


@contextlib.contextmanager
def scratch(kind: str, *under: str) -> Iterator[Path]:
    """A folder for the length of one step, on the file system of the cache where that can be written.

    :param under: folder of the cache that it lies in.
    """
    sweep_cache()
    home = cached(*under) if under else cache_dir()
    if not writable(home):
        home = _overlay()
    path = home / part_name(kind)
    held = None
    try:
        path.mkdir(mode=0o700, parents=True)
        held = hold(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if held is not None:
            os.close(held)


def sweep_cache() -> None:
    """Delete what killed processes left in the cache, once in a process."""
    home = cache_dir()
    if writable(home):
        _sweep_once(home)


@functools.cache
def _sweep_once(home: Path) -> None:
    for folder in [home, *(path for path in home.iterdir() if path.is_dir() and not path.name.startswith("."))]:
        with contextlib.suppress(OSError):  # another process deletes the same, or it is another user's
            sweep(folder)
            for left in folder.glob(".*"):
                match = _FORMER.fullmatch(left.name)
                if match and _ended(left, match["pid"]):
                    shutil.rmtree(left, ignore_errors=True)


def _ended(left: Path, pid: str | None) -> bool:
    """Earlier versions gave no machine: their number may be one of another container, so a day passes."""
    if pid is not None and alive(int(pid)):
        return False
    return time.time() - left.lstat().st_mtime > _DAY


_overlays: dict[int, Path] = {}


def _overlay() -> Path:
    """This process's own cache, for what the real one lacks."""
    if (found := _overlays.get(os.getpid())) is None:
        temporary = Path(tempfile.gettempdir())
        sweep(temporary, "cogen-cache")
        found = _overlays[os.getpid()] = temporary / part_name("cogen-cache")
        found.mkdir(mode=0o700)
        hold(found)  # until this process ends
        atexit.register(_remove, found, os.getpid())
    return found


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork of it
        shutil.rmtree(folder, ignore_errors=True)


def notice() -> str | None:
    """What to say at the end where the cache could not be written."""
    folder = _overlays.get(os.getpid())
    if folder is None or not any(not path.name.startswith(".") for path in folder.iterdir()):
        return None
    return f"the cache folder {cache_dir()} is read-only: what was computed or fetched now is not kept"


@contextlib.contextmanager
def one_process(kind: str, name: str) -> Iterator[bool]:
    """Whether no other process of this machine is in such a block of the same ``kind`` and ``name``; does not wait.

    :raises OSError: the lock cannot be made.
    """
    home = cache_dir()
    if not writable(home):  # where all processes of this user meet otherwise
        home = Path(tempfile.gettempdir()) / f"cogen-{os.getuid() if hasattr(os, 'getuid') else 'locks'}"
    place = home / kind / f"{name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(place)
    taken = lock.acquire(wait=False)
    try:
        yield taken
    finally:
        lock.release()
