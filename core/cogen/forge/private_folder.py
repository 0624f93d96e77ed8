"""``private/`` beside a recipe: whose it is, one training at a time, and the text of earlier figures."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cogen.errors import CogenError, TrainError
from cogen.evals.private import PRIVATE_FILE, PrivateTask
from cogen.files import abandoned, alive, atomic_write, part_name
from cogen.locks import ProcessLock, hold
from cogen.reporter import SILENT, Reporter

PRIVATE = "private"
#: Folder of the private statements, beside the text that they are made of.
STATEMENTS = "statements"
#: Texts of figures that an earlier training gave, each in a folder that is called by their text digest.
EARLIER = "earlier"
#: File that has the id of the expert whose folder it is.
OWNER = "expert"
_SALT = "salt"
_FILES = (PRIVATE_FILE, "dev.jsonl", "test.jsonl", "task.yaml")


def check_owner(home: Path, id: str) -> None:
    """:raises TrainError: the folder has the private text of another expert, which a training would replace."""
    note = home / PRIVATE / OWNER
    owner = note.read_text(encoding="utf-8").strip() if note.is_file() else id
    if owner != id:
        raise TrainError(
            f"the folder {PRIVATE}/ beside the recipe has the private text of expert {owner!r}, and this recipe trains "
            f"{id!r}",
            hint="put each recipe into a folder of its own, or move private/ to where you keep it for that expert",
        )


def claim(home: Path, id: str) -> Path:
    """``private/``, which is the expert's from now on.

    :raises TrainError: see :func:`check_owner`.
    """
    check_owner(home, id)
    folder = home / PRIVATE
    folder.mkdir(exist_ok=True, mode=0o700)
    if not (folder / OWNER).is_file():
        atomic_write(folder / OWNER, f"{id}\n".encode(), 0o600)
    return folder


@contextlib.contextmanager
def one_training(home: Path, package: Path, private: bool) -> Iterator[None]:
    """One training at a time into a package, and into ``private/`` if it is ``private``: a second one is refused.

    :raises TrainError: another one is running.
    """
    names = [package.name, *([PRIVATE] if private else [])]
    with contextlib.ExitStack() as stack:
        for name in names:
            lock = ProcessLock(home / f".{name}.lock")
            try:
                if not lock.acquire(wait=False):
                    raise TrainError(
                        f"another training is writing to {name}/ in {home}",
                        hint="wait until it has ended, or stop it; a recipe of another expert belongs into another "
                        "folder",
                    )
                stack.callback(lock.release)
            except OSError as error:
                raise CogenError(
                    f"{home} cannot be written: {error.strerror}",
                    hint="choose another folder, or change its permissions",
                ) from error
        yield


@contextlib.contextmanager
def staging(home: Path, id: str) -> Iterator[Path]:
    """A folder inside of ``private/`` that is gone afterwards; what killed runs left there goes as well.

    Private text is measured here and not in the cache: wherever a run is killed, the text is where it belongs.
    """
    new = not (home / PRIVATE).exists()
    folder = claim(home, id)
    for left in folder.glob(".staged.*"):
        match = re.fullmatch(r"\.staged\.(\d+)\.[0-9a-f]+", left.name)  # of an earlier version
        if abandoned(left) or (match and not alive(int(match[1]))):
            shutil.rmtree(left, ignore_errors=True)
    staged, held = folder / part_name("staged"), None
    try:
        staged.mkdir(mode=0o700)
        held = hold(staged)
        yield staged
    finally:
        if held is not None:
            os.close(held)
        shutil.rmtree(staged, ignore_errors=True)
        if new and [path.name for path in folder.iterdir()] == [OWNER]:  # nothing is kept
            shutil.rmtree(folder)


def sweep_cache(cache: Path) -> None:
    """Delete what packaging left in the cache when it was killed: earlier versions measured private text there."""
    for left in cache.glob(".publish.*"):
        match = re.fullmatch(r"\.publish\.(\d+)\..+", left.name)
        if abandoned(left) if left.suffix == ".part" else not match or not alive(int(match[1])):
            shutil.rmtree(left, ignore_errors=True)


def keep(home: Path, id: str, staged: Sequence[PrivateTask], reporter: Reporter = SILENT) -> None:
    """Make ``staged`` the private suites of ``home``; the text of other figures that lies there moves to ``earlier/``.

    :param staged: held-out text, then the statements made of it; nothing where the expert has no private suite now.
    """
    folder = home / PRIVATE
    if not staged and not folder.is_dir():
        return
    claim(home, id)
    places = (folder, folder / STATEMENTS)
    for number, place in enumerate(places):
        new = staged[number] if number < len(staged) else None
        _set_aside(place, folder / EARLIER, new)
        if new is not None:
            place.mkdir(exist_ok=True, mode=0o700)
            # last: what describes the others, so that a run that was stopped halfway is noticed
            for name in (_SALT, *_FILES[::-1]):
                if (new.folder / name).is_file():
                    atomic_write(place / name, (new.folder / name).read_bytes(), 0o600)
    _say(folder / EARLIER, reporter)


def _set_aside(place: Path, earlier: Path, new: PrivateTask | None) -> None:
    """Move a suite away that is not ``new``, with its salt, without which its digest says nothing."""
    digest = _digest(place / PRIVATE_FILE)
    if digest is None or (new is not None and digest == new.digests["test"]):
        return
    target = earlier / digest.removeprefix("sha256:")[:16]
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _FILES:
        if (place / name).is_file():
            (place / name).replace(target / name)
    if (place / _SALT).is_file():
        shutil.copy2(place / _SALT, target / _SALT)
        if place.name == STATEMENTS and new is None:
            (place / _SALT).unlink()
            with contextlib.suppress(OSError):  # what else lies there is its owner's
                place.rmdir()


def _digest(described: Path) -> str | None:
    """The text digest of the test split that the file names; of the file itself where it names none."""
    import hashlib

    import yaml

    if not described.is_file():
        return None
    content = described.read_bytes()
    try:
        return str(yaml.safe_load(content)["digests"]["test"])
    except (yaml.YAMLError, KeyError, TypeError):
        return "sha256:" + hashlib.sha256(content).hexdigest()


def _say(earlier: Path, reporter: Reporter) -> None:
    kept = sorted(path for path in earlier.iterdir() if path.is_dir()) if earlier.is_dir() else []
    if kept:
        size = sum(file.stat().st_size for folder in kept for file in folder.rglob("*") if file.is_file())
        suites = "suite" if len(kept) == 1 else "suites"
        reporter.note(
            f"{earlier} keeps the text of {len(kept)} earlier private {suites} ({size:,} bytes), by text digest: keep "
            "those whose figures you published, and delete the others"
        )
