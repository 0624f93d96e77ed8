"""What lay in an environment before something is installed into it, so that all of it can be put back.

    with undoable("cogen-plugin-power", paths):
        ...                             whatever ends this block with an error has never happened

A copy is on the disk before anything changes, in ``share/cogen/undo`` of the environment: where the process is killed,
the next command finds it there and puts things back (:func:`recover`). Paths are restored with bytes, modes and times;
what did not exist is removed again. No installer takes part: an installer believes a RECORD.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cogen.cache import one_process
from cogen.errors import CogenError

_JOURNAL = "journal.json"


def home() -> Path:
    """Where copies lie, one folder for each distribution that is being installed."""
    return Path(sys.prefix) / "share" / "cogen" / "undo"


@contextlib.contextmanager
def undoable(name: str, paths: Iterable[Path]) -> Iterator[None]:
    """Put these paths back as they were if the block fails in any way.

    :raises CogenError: another process is installing here.
    """
    with _alone() as alone:
        if not alone:
            raise CogenError("another command is installing into this environment", hint="wait until it has ended")
        place = _take(home() / name, paths)
        try:
            yield
        except BaseException:
            with _undisturbed():
                _restore(place)
            raise
        _drop(place)


def recover() -> list[str]:
    """Undo what a killed process left half done; the names of the distributions.

    What a process that still runs is doing is left to it.
    """
    if not home().is_dir():
        return []
    found = []
    with _alone() as alone:
        for place in sorted(path for path in home().iterdir() if path.is_dir()) if alone else ():
            if place.suffix in (".part", ".done"):
                shutil.rmtree(place, ignore_errors=True)
            else:
                with _undisturbed():
                    _restore(place)
                found.append(place.name)
        _tidy()
    return found


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    """Does nobody else install into this environment, for the length of a ``with``? A killed process holds nothing."""
    with one_process("environments", hashlib.sha256(sys.prefix.encode()).hexdigest()[:16]) as alone:
        yield alone


def first_missing(path: Path, root: Path) -> Path:
    """The highest folder above a path (or itself) that is not there yet: removing it undoes all of it."""
    for parent in reversed([one for one in path.parents if one != root and one.is_relative_to(root)]):
        if not parent.exists() and not parent.is_symlink():
            return parent
    return path


def _take(place: Path, paths: Iterable[Path]) -> Path:
    part = place.with_name(f"{place.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        entries: list[dict[str, Any]] = []
        # asked for only now: this folder's parents are there, so that no path to restore is one of them
        for number, path in enumerate(dict.fromkeys(paths)):
            kept = str(number) if _copy(path, part / str(number)) else None
            entries.append({"path": str(path), "kept": kept})
        with (part / _JOURNAL).open("w", encoding="utf-8") as file:
            json.dump({"schema": 1, "entries": entries}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        _tidy()
        raise CogenError(
            f"{place.parent} cannot keep what is installed: {error.strerror}",
            hint="make room, or use an environment that you may write to (`python -m venv`)",
        ) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        _tidy()
        raise
    return place


def _restore(place: Path) -> None:
    try:
        entries = json.loads((place / _JOURNAL).read_text(encoding="utf-8"))["entries"]
        for entry in entries:
            path = Path(entry["path"])
            _remove(path)
            if entry["kept"] is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _copy(place / entry["kept"], path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CogenError(
            f"what was installed before cannot be put back: {error}",
            hint=f"its copy lies in {place}; free the disk, then run any `cogen add`, `remove` or `verify`",
        ) from error
    _drop(place)


def _drop(place: Path) -> None:
    done = place.with_name(f"{place.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    with contextlib.suppress(OSError):
        place.replace(done)
    shutil.rmtree(done, ignore_errors=True)
    _tidy()


def _tidy() -> None:
    """Leave no empty folders behind."""
    with contextlib.suppress(OSError):
        home().rmdir()
        home().parent.rmdir()
        home().parent.parent.rmdir()


def _copy(source: Path, target: Path) -> bool:
    """Copy a file, a link or a folder, with modes and times; was there anything?"""
    if source.is_symlink() or source.is_file():
        shutil.copy2(source, target, follow_symlinks=False)
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not stop the undoing of the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
