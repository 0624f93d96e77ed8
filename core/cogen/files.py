"""The cache and settings folders, SHA-256 of a file, and writing that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cogen.errors import CogenError
from cogen.settings import settings


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
            raise CogenError(
                f"the cache folder {path} cannot be made: {error.strerror}",
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

    :param mode: permissions of the file, which has no more than 0600 while it is written.
    :raises OSError: it cannot be written; nothing is left behind.
    """
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a hidden sibling folder that becomes ``path`` when the block ends without an error.

    With ``replace`` an existing ``path`` is swapped out and then deleted; without it, an existing
    ``path`` wins (another process was first) and our copy is dropped. A killed process leaves at
    most hidden ``.NAME.*`` folders, which the next run for the same path removes, or gives their
    name back if the process was killed between the two renames of a swap.

    :raises CogenError: no folder can be made there.
    """
    import secrets

    path = Path(os.path.abspath(path))  # noqa: PTH100 (a symbolic link is replaced, not followed)
    part = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
    try:  # the name is there before the folder is: an interrupt between the two leaves nothing behind
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            part.mkdir()
            part.chmod(0o755)
        except OSError as error:
            raise CogenError(
                f"{path} cannot be written: {error.strerror}", hint="choose another folder, or change its permissions"
            ) from error
        yield part
        if path.exists() and not replace:
            return
        old = None
        if path.exists():
            old = part.with_suffix(".old")
            path.rename(old)
        try:
            part.rename(path)
        except OSError:
            if old is not None:
                old.rename(path)
            raise
        if old is not None:
            _remove(old)
    finally:
        if os.path.lexists(part):
            _remove(part)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, which ``make`` fills if it is not there: whole or not at all, by one process."""
    with locked(path):
        if not path.is_dir():
            with atomic_folder(path) as part:
                make(part)
    return path


def _sweep(path: Path) -> None:
    """Mend what killed processes left beside ``path``; a living process keeps its own."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.[^.]+\.(part|old)")
    for left in sorted(path.parent.iterdir()):
        match = ours.fullmatch(left.name)
        if match and not alive(int(match[1])):
            if match[2] == "old" and not path.exists():
                left.rename(path)
            else:
                _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time per ``path``: a second one waits, so a download happens once."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        yield
