"""The cache and settings folders, SHA-256 of a file, and writing that appears whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from cogen.errors import CogenError
from cogen.locks import alive, hold, in_use, locked, place
from cogen.settings import settings
from cogen.system_errors import describe, naming

__all__ = [
    "abandoned",
    "alive",
    "atomic_folder",
    "atomic_write",
    "cache_dir",
    "config_dir",
    "copy_contents",
    "locked",
    "made_once",
    "part_name",
    "sha256_of",
    "sweep",
]

#: Folder or file of a process that makes the one of that name: number, what makes it unique, machine, what it is.
_PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.[0-9a-z_]+(?:-(?P<place>[0-9a-f]{8}))?\.(?P<kind>part|old)")
#: Bytes of a file's name that no common file system refuses, and what our own names add to one.
_LONGEST, _ADDED = 255, 60
#: ``/dev/stdout`` and its kin are links to whatever is open; the rest of ``/dev`` may hold files (``/dev/shm``).
_OPEN_FILES = (("dev", "stdout"), ("dev", "stderr"), ("dev", "fd"))
#: Seconds until something is deleted whose owner may live on another machine.
_OLD = 7 * 86_400


def cache_dir(*, make: bool = True) -> Path:
    """Folder of everything that can be fetched or computed again: ``COGEN_CACHE``, or the platform's place for it.

    :param make: make it when it is missing.
    :raises CogenError: it cannot be made.
    """
    path = settings().cache or _of_platform("user_cache_dir")
    if make:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            wrong, _ = describe(error)
            raise CogenError(
                f"the cache folder {path} cannot be made: {wrong}",
                hint="set COGEN_CACHE to a folder that you may write to",
            ) from error
    return path


def config_dir() -> Path:
    """Folder of the user's settings, keys and receipts: ``COGEN_CONFIG``, or the platform's place for them."""
    return settings().config or _of_platform("user_config_dir")


def _of_platform(kind: str) -> Path:
    import platformdirs

    return Path(getattr(platformdirs, kind)("cogen"))


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of one file, read in blocks.

    :raises OSError: it cannot be read.
    """
    import hashlib  # here, like tempfile below: `cogen list` needs neither

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def atomic_write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the whole new one.

    A device or pipe (``/dev/null``, ``/dev/stdout``) is written to; it never gives its name to a file.

    :param mode: permissions of the file, which has no more than 0600 while it is written.
    :raises OSError: it cannot be written; nothing is left behind.
    """
    if _is_special(path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    part = path.parent / part_name(path.name)
    try:
        with naming(path), os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(mode)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_contents(source: Path, target: Path, *, leave_out: Collection[str] = ()) -> None:
    """Files and folders of ``source`` in ``target``, which is made where it is missing, with permissions of their own:
    a cache that may only be read makes nothing read-only.

    :param leave_out: names, at any depth.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name in leave_out:
            continue
        if path.is_dir():
            copy_contents(path, target / path.name, leave_out=leave_out)
        else:
            shutil.copyfile(path, target / path.name)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a hidden sibling folder that becomes ``path`` when the block ends without an error.

    With ``replace`` an existing ``path`` is swapped out and then deleted; without it, an existing
    ``path`` wins (another process was first) and our copy is dropped. A killed process leaves at
    most hidden ``.NAME.*`` folders, which the next run for the same path removes. Where the system
    cannot exchange two names in one step, it gives the old folder its name back if the process was
    killed between two renames.

    :raises CogenError: no folder can be made there, or a file or device such as /dev/null has the name.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 (a symbolic link is replaced, not followed)
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 (these never raise)
        raise CogenError(f"{path} is not a folder", hint="give another folder, or move it away")
    part = path.parent / part_name(path.name)
    held = None
    try:  # the name is there before the folder is: an interrupt between the two leaves nothing behind
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent, path.name)
            part.mkdir()
            part.chmod(0o755)
        except OSError as error:
            if error.filename is None:
                error.filename = str(path)
            wrong, hint = describe(error)
            raise CogenError(f"{path} cannot be written: {wrong}", hint=hint) from error
        held = hold(part)
        with naming(path):
            yield part
            if path.exists() and not replace:
                return
            _take_name(part, path)
    finally:
        if os.path.lexists(part):
            _remove(part)
        if held is not None:
            os.close(held)


def _take_name(part: Path, path: Path) -> None:
    """Rename ``part`` to ``path``; what had the name is deleted."""
    if not path.exists():
        part.rename(path)
        return
    if _exchange(part, path):
        _remove(part)
        return
    old = part.with_suffix(".old")
    path.rename(old)
    try:
        part.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names of one file system in one step (Linux: ``renameat2``); whether that was possible."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    done: int = rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(exchange))
    return done == 0


def _is_special(path: Path) -> bool:
    """Is it a device, a pipe, or a name that the system gives to one of this process's open files?"""
    if path.is_absolute() and (path.parts[1:2] == ("proc",) or path.parts[1:3] in _OPEN_FILES):
        return True
    return os.path.exists(path) and not path.is_file() and not path.is_dir()  # noqa: PTH110 (it never raises)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, which ``make`` fills if it is not there: whole or not at all, by one process."""
    with locked(path):
        if not path.is_dir():
            with atomic_folder(path) as part:
                make(part)
    return path


def part_name(name: str) -> str:
    """A hidden name of what this process makes, to be called ``name`` in the end."""
    import hashlib
    import secrets

    if len(os.fsencode(name)) > _LONGEST - _ADDED:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return f".{name}.{os.getpid()}.{secrets.token_hex(4)}-{place()}.part"


def sweep(folder: Path, name: str | None = None) -> None:
    """Mend what killed processes left in ``folder``; a living process keeps its own.

    :param name: only what was to have this name.
    """
    for left in sorted(path for path in folder.iterdir() if path.name.startswith(".")):
        match = _PART.fullmatch(left.name)
        if match is None or (name is not None and match["name"] != name) or not abandoned(left):
            continue
        target = folder / match["name"]
        if match["kind"] == "old" and not target.exists():
            with contextlib.suppress(FileNotFoundError):  # another process mended it at the same time
                left.rename(target)
        else:
            _remove(left)


def abandoned(path: Path) -> bool:
    """Whether the process that :func:`part_name` names does not live any more.

    A lock says so of folders; where there are no locks, the process's number does, on this machine, and elsewhere age.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return False
    used = in_use(path) if path.is_dir() else None
    if used:
        return False
    if match["place"] in (None, place()) and not alive(int(match["pid"])):
        return True
    try:
        return time.time() - path.lstat().st_mtime > _OLD
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
