"""Our cache, and writing that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cogen.errors import CogenError


def cache_dir() -> Path:
    """``$COGEN_CACHE``, or the platform's cache folder. Created when missing."""
    import platformdirs

    path = Path(os.environ.get("COGEN_CACHE") or platformdirs.user_cache_dir("cogen"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CogenError(
            f"the cache folder {path} cannot be made: {error.strerror}",
            hint="set COGEN_CACHE to a folder that you may write to",
        ) from error
    return path


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a hidden sibling folder that becomes ``path`` when the block ends without an error.

    With ``replace`` an existing ``path`` is swapped out and then deleted; without it, an existing
    ``path`` wins (another process was first) and our copy is dropped. A killed process leaves at
    most a hidden ``.NAME.*.part`` folder, which the next run for the same path removes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.", suffix=".part"))
    part.chmod(0o755)
    try:
        yield part
        if path.exists() and not replace:
            return
        old = None
        if path.exists():
            old = part.with_suffix(".old")
            path.rename(old)
        part.rename(path)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Remove what killed processes left beside ``path``; a living process keeps its own."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        pid = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
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
