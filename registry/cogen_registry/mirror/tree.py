"""A folder of files that is replaced as a whole: what did not change is linked from the old one, not copied."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from cogen.locks import ProcessLock
from cogen_registry.errors import Refused

#: Says that a folder is a mirror: nothing else is ever replaced.
MARK = "mirror.json"
#: JSON under this name is what a web server sends for the folder itself.
_JSON = ("index.json", "index.html")


class Tree:
    """``with Tree(target) as tree: tree.put(…)``: on the way out the target is the new tree, or after an error the old.

    :param fresh: copy everything, as if there were no old tree.
    :raises Refused: 409, the target is something else, or another export is writing it.
    """

    def __init__(self, target: Path, fresh: bool = False) -> None:
        self.target = target.absolute()
        self._part, self._old = (self.target.with_name(f".{target.name}.{end}") for end in ("part", "old"))
        self._lock = ProcessLock(self.target.with_name(f".{target.name}.lock"))
        self._fresh = fresh
        #: Files in all, those that were linked from the old tree, and the bytes that were written.
        self.files, self.kept, self.written = 0, 0, 0
        self._links: dict[str, Path] = {}
        self._folders: set[Path] = set()

    def __enter__(self) -> Self:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire(wait=False):
            raise Refused(409, f"another export is writing {self.target}", hint="wait for it")
        try:
            self._recover()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _recover(self) -> None:
        """Undo what a killed export left: between its two renames there is no target, but an old one."""
        if not self.target.exists() and self._old.exists():
            self._old.rename(self.target)
        for rest in (self._part, self._old):
            shutil.rmtree(rest, ignore_errors=True)
        if self.target.exists() and not self.target.is_dir():
            raise Refused(409, f"{self.target} is no folder", hint="name a folder that is new or a mirror")
        if self.target.is_dir() and any(self.target.iterdir()) and not (self.target / MARK).is_file():
            raise Refused(
                409, f"{self.target} is neither empty nor a mirror", hint="name a folder that is new or a mirror"
            )
        self._part.mkdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.target.exists():
                    self.target.rename(self._old)
                self._part.rename(self.target)
        finally:
            for rest in (self._part, self._old):
                shutil.rmtree(rest, ignore_errors=True)
            self._lock.release()

    def put(self, parts: Iterable[str], data: bytes) -> None:
        """A small file. One that has the same bytes already is kept, with its time: `rsync` passes it over."""
        path, old = self._places(parts)
        if old is not None and old.stat().st_size == len(data) and old.read_bytes() == data:
            self._keep(old, path)
            return
        path.write_bytes(data)
        self.written += len(data)

    def json(self, parts: Iterable[str], value: object) -> None:
        """JSON at ``parts/index.json``, and the same where a web server answers the path itself.

        The second is sent as HTML: nothing in it may be markup.
        """
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        for mark, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
            text = text.replace(mark, code)  # in JSON these stand in strings alone
        folder = list(parts)
        for name in _JSON:
            self.put([*folder, name], text.encode() + b"\n")

    def blob(self, parts: Iterable[str], sha256: str, size: int, read: Callable[[], Iterable[bytes]]) -> None:
        """A large file that is what its digest says. A path always means the same bytes, or its size differs.

        :raises Refused: 500, the store's bytes are damaged.
        """
        path, old = self._places(parts)
        if (known := self._links.get(sha256)) is not None:
            _link(known, path)
            return
        self._links[sha256] = path
        if old is not None and old.stat().st_size == size:
            self._keep(old, path)
            return
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for block in read():
                digest.update(block)
                file.write(block)
                self.written += len(block)
        if digest.hexdigest() != sha256:
            raise Refused(500, f"the blob {sha256} is damaged", hint="`cogen-registry check` says what else is")

    def _places(self, parts: Iterable[str]) -> tuple[Path, Path | None]:
        """(where it goes, where the old tree has it)."""
        names = list(parts)
        if not names or any(one in ("", ".", "..") or "/" in one or "\0" in one for one in names):
            raise Refused(500, f"{names} can't be a path", hint="tell the developers")
        path = self._part.joinpath(*names)
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        old = self.target.joinpath(*names)
        self.files += 1
        return path, old if not self._fresh and old.is_file() and not old.is_symlink() else None

    def _keep(self, old: Path, path: Path) -> None:
        self.kept += 1
        _link(old, path)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # a file system without hard links
        shutil.copy2(old, new)
