"""The static index of a running service: a thread writes the shards that changed, beside what is being served.

Files lie in ``root/index`` with a note of the state that they are of, so that a restart goes on where it was. A shard
that was replaced stays for a while: whoever read the old ``index.json`` gets what it names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cogen_registry.database import feed
from cogen_registry.errors import Refused, not_found
from cogen_registry.experts.index_file import SHARDS, Shard, document, joined, read_lines, shard_of, write_lines
from cogen_registry.news import tags_of
from cogen_registry.search.index import search_of

if TYPE_CHECKING:
    from cogen_registry.news import Heard
    from cogen_registry.search.catalogue import Catalogue
    from cogen_registry.service import Service

_log = logging.getLogger(__name__)
_FILE = re.compile(r"[a-z2-7]{2}\.[0-9a-f]{64}\.json")
#: Seconds that a shard is kept after it was replaced, unless an operator took something out of it.
_KEPT = 900.0
#: Seconds that a request waits for what changed a moment ago; then it gets the state before.
_PATIENCE = 1.0
#: The same where there is no state before.
_FIRST = 30.0
#: Between two shards of the very first writing: others want to be answered meanwhile.
_PAUSE = 0.002
#: Of ``state.json``, and of what stands in the cards: shards of another one are written again.
_STATE = 3
_NUMBERS = {name: number for number, name in enumerate(SHARDS)}


class Index:
    """One a service, started and closed with it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.folder = service.settings.root / "index"
        self._shards: dict[str, Shard] = {}
        self._document: tuple[bytes, str] | None = None
        #: Of the state that ``_document`` is of; and what is to be written, with the state that asked for it.
        self._serial, self._wanted = -1, -1
        #: Shard → experts in it that are written anew; ``None``: all of them.
        self._dirty: dict[str, set[str] | None] = {}
        self._numbers = (object(), np.zeros(0, np.int16))
        self._old: list[tuple[float, Path]] = []
        #: Was something taken down? Then nothing of before may be read any longer.
        self._withdrawn = False
        self._change, self._stop = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.service.follow(self._hear, rank=1)
        with self._change:
            self._wanted = max(self._wanted, self.service.serial)
            self._mark(self._recover())
        self._thread.start()

    def close(self) -> None:
        with self._change:
            self._stop = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join(10)

    def get(self) -> tuple[bytes, str]:
        """(``index.json``, its hex SHA-256).

        :raises Refused: 503, it is being written for the first time, and that takes a while.
        """
        serial = self.service.serial
        with self._change:
            first = self._document is None
            self._change.wait_for(lambda: self._serial >= serial or self._stop, _FIRST if first else _PATIENCE)
            if self._document is None:
                raise Refused(503, "the index is being written", hint="try again", headers={"Retry-After": "5"})
            return self._document

    def file(self, name: str) -> Path:
        """:raises Refused: 404, no index that is younger than a quarter of an hour names it."""
        path = self.folder / name
        if not _FILE.fullmatch(name) or not path.is_file():
            raise not_found("such shard", "read /api/v1/index.json again")
        return path

    # ---- inside ----------------------------------------------------------------------------------

    def _hear(self, heard: Heard) -> None:
        with self._change:
            self._wanted = max(self._wanted, self.service.news.coming)
            self._withdrawn = self._withdrawn or bool(heard.keys("withdrawn"))
            if heard.tags is None or heard.keys("project"):
                self._mark(_experts(heard.tags))
            self._change.notify_all()

    def _mark(self, experts: set[str] | None) -> None:
        """These are to be written anew; ``None``: everything."""
        if experts is None:
            self._dirty = dict.fromkeys(SHARDS)
            return
        for id in experts:
            touched = self._dirty.setdefault(shard_of(id), set())
            if touched is not None:
                touched.add(id)

    def _recover(self) -> set[str] | None:
        """Take what an earlier run wrote; the experts that have to be written anew, ``None``: all."""
        serial, shards = _noted(self.folder / "state.json", self.service.settings.title)
        names = {one.file for one in shards}
        for path in self.folder.iterdir():
            if path.name not in names | {"state.json"}:
                path.unlink()
        if not shards or any(one.experts and not (self.folder / one.file).is_file() for one in shards):
            return None
        with self.service.sessions.read() as session:
            _, items = feed.since(session, serial)
            tags = tags_of(session, items)
        if tags is None:
            return None
        self._shards = {one.name: one for one in shards}
        return _experts(tags)

    def _run(self) -> None:
        while not self._stop:
            with self._change:
                self._change.wait_for(lambda: self._serial < self._wanted or self._stop)
                dirty, self._dirty, wanted = self._dirty, {}, self._wanted
                withdrawn, self._withdrawn = self._withdrawn, False
            try:
                if not self._stop:
                    self._write(dirty, wanted, withdrawn)
            except Exception as error:  # noqa: BLE001 - a database that is away, a disk that is full: again in a moment
                _log.warning("the index could not be written: %s", (str(error).splitlines() or ["?"])[0])
                with self._change:
                    self._dirty |= dict.fromkeys(dirty)  # whole: who knows how far it came
                    self._withdrawn = self._withdrawn or withdrawn
                    self._change.wait_for(lambda: self._stop, 2.0)

    def _write(self, dirty: dict[str, set[str] | None], wanted: int, withdrawn: bool) -> None:
        """Write these shards, then the document that names them. ``withdrawn``: delete at once what was replaced."""
        catalogue = search_of(self.service).fresh()
        changed = False
        for name in sorted(dirty):
            if self._stop:
                return
            before = self._shards.get(name)
            shard = self._made(name, self._rows(catalogue, name), dirty[name])
            if shard != before:
                self._shards[name] = shard
                changed = True
                if before is not None and before.experts:
                    self._old.append((time.monotonic() + _KEPT, self.folder / before.file))
        if withdrawn:
            self._old = [(0.0, path) for _, path in self._old]
        if changed or self._document is None:
            made = document(self.service.settings.title, list(self._shards.values()))
            self._note(wanted)
        with self._change:
            if changed or self._document is None:
                self._document = made, hashlib.sha256(made).hexdigest()
            self._serial = wanted
            self._change.notify_all()
        self._sweep()

    def _made(self, name: str, rows: dict[str, int], touched: set[str] | None) -> Shard:
        """A shard with its file; one without experts has none.

        :param rows: expert → row of ``experts``. :param touched: those whose cards may be others; ``None``: all.
        """
        if not rows:
            return Shard(name, "", 0, 0)
        before = self._shards.get(name)
        known = {}
        if touched is not None and before is not None and before.experts:
            lines = read_lines((self.folder / before.file).read_bytes())
            known = {id: line for id, line in lines.items() if id in rows and id not in touched}
        with self.service.sessions.read() as session:
            fresh = write_lines(session, [row for id, row in rows.items() if id not in known])
        shard, data = joined(name, known | fresh)
        path = self.folder / shard.file
        if not path.is_file():
            part = path.with_suffix(".part")
            part.write_bytes(data)
            part.replace(path)
            if self._document is None:
                time.sleep(_PAUSE)
        return shard

    def _rows(self, catalogue: Catalogue, name: str) -> dict[str, int]:
        """Experts that are in a shard → their rows of ``experts``."""
        known, numbers = self._numbers
        alive = catalogue.alive.values
        if known is not catalogue:
            numbers = np.zeros(0, np.int16)
        if len(numbers) < len(alive):
            more = [_NUMBERS[shard_of(id)] for id in catalogue.names[len(numbers) : len(alive)]]
            numbers = np.concatenate([numbers, np.array(more, np.int16)])
        self._numbers = catalogue, numbers
        rows = np.flatnonzero((numbers[: len(alive)] == _NUMBERS[name]) & alive)
        return {catalogue.names[row]: int(catalogue.ids.values[row]) for row in rows}

    def _note(self, serial: int) -> None:
        """What a restart begins with. It may be older than the files: then some are written again."""
        state = {
            "schema": _STATE,
            "title": self.service.settings.title,
            "serial": serial,
            "shards": [astuple(one) for one in self._shards.values()],
        }
        part = self.folder / "state.part"
        part.write_text(json.dumps(state))
        part.replace(self.folder / "state.json")

    def _sweep(self) -> None:
        moment = time.monotonic()
        current = {one.file for one in self._shards.values()}
        for until, path in self._old:
            if until <= moment and path.name not in current:
                path.unlink(missing_ok=True)
        self._old = [one for one in self._old if one[0] > moment]


def _experts(tags: set[str] | None) -> set[str] | None:
    return None if tags is None else {tag.removeprefix("expert:") for tag in tags if tag.startswith("expert:")}


def _noted(path: Path, title: str) -> tuple[int, list[Shard]]:
    """(state, shards) that an earlier run noted; nothing where it was another program's or is damaged."""
    try:
        state = json.loads(path.read_text())
        if (state["schema"], state["title"]) == (_STATE, title):
            return int(state["serial"]), [Shard(*one) for one in state["shards"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return -1, []
