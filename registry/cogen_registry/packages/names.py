"""The list of all projects, which changes by a line: it is kept in blocks, and one of them is written again."""

from __future__ import annotations

import bisect
import hashlib
import threading
from functools import cache
from typing import Any

from simple_repository.content_negotiation import Format
from simple_repository.model import Meta, ProjectList, ProjectListElement
from simple_repository.serializer import serialize
from sqlalchemy import exists, select

from cogen_registry.database.tables import Project, Release
from cogen_registry.news import Heard
from cogen_registry.service import Service

VERSION = "1.1"
#: Names of one block; one with twice as many is parted.
_BLOCK = 512


class NameBlock:
    """Some names in their order, and what was written of them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._written: dict[Format, bytes] = {}

    def text(self, form: Format) -> bytes:
        """The names as this form has them."""
        if (known := self._written.get(form)) is None:
            before, _, after = frame(form)
            known = self._written[form] = written(self.names, form).removeprefix(before).removesuffix(after)
        return known


class Names:
    """One a service; read at the first request, and followed from then on."""

    def __init__(self, service: Service) -> None:
        self._service, self._lock = service, threading.Lock()
        self._blocks: list[NameBlock] | None = None
        self._etags: dict[Format, str] = {}

    def page(self, form: Format) -> tuple[bytes, str]:
        """(body, ETag)."""
        before, between, after = frame(form)
        with self._lock:
            if self._blocks is None:
                names = self._read()
                self._blocks = [NameBlock(names[at : at + _BLOCK]) for at in range(0, len(names), _BLOCK)]
                self._etags.clear()
            body = before + between.join(block.text(form) for block in self._blocks) + after
            if form not in self._etags:
                self._etags[form] = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            return body, self._etags[form]

    def _read(self) -> list[str]:
        shown = select(Release.project_id).where(Release.state == "released")
        statement = select(Project.name).where(Project.id.in_(shown))
        with self._service.sessions.read() as session:
            return sorted(session.scalars(statement))

    def hear(self, heard: Heard) -> None:
        with self._lock:
            if self._blocks is None:
                return
            if heard.tags is None:
                self._blocks = None
                return
            for name in heard.keys("project"):
                shown = exists().where(
                    Project.name == name, Release.project_id == Project.id, Release.state == "released"
                )
                self._set(name, bool(heard.session.scalar(select(shown))))

    def _set(self, name: str, there: bool) -> None:
        assert self._blocks is not None
        at = max(0, bisect.bisect_right(self._blocks, name, key=lambda block: block.names[0]) - 1)
        names = list(self._blocks[at].names) if self._blocks else []
        place = bisect.bisect_left(names, name)
        if (place < len(names) and names[place] == name) == there:
            return
        names[place : place + (not there)] = [name] * there
        half = len(names) // 2 if len(names) > 2 * _BLOCK else len(names)
        self._etags.clear()
        self._blocks[at : at + 1] = [NameBlock(part) for part in (names[:half], names[half:]) if part]


def written(names: list[str], form: Format) -> bytes:
    """The whole list by the serializer."""
    # The model wants sets, whose order differs between processes; a tuple gives equal pages equal ETags.
    projects: Any = tuple(ProjectListElement(name) for name in names)
    return serialize(ProjectList(Meta(VERSION), projects), form).encode()


@cache
def frame(form: Format) -> tuple[bytes, bytes, bytes]:
    """What the serializer writes before all names, between two of them, and after all."""
    empty, one, two = (written(list(names), form) for names in ("", "x", "xy"))
    start = next(at for at in range(len(one)) if empty[at] != one[at])
    before, after = empty[:start], empty[start:]
    first, both = (text.removeprefix(before).removesuffix(after) for text in (one, two))
    second = first.replace(b"x", b"y")
    return before, both.removeprefix(first).removesuffix(second), after
