"""What changed, brought to whoever keeps something in memory: in this process at once, in the others within a second.

A change becomes *tags*: names of what it touches. ``project:NAME``, ``expert:ID``, ``publisher:NAME``,
``composite:PUBLISHER/NAME``, ``repository:NAMESPACE/NAME``, ``lineage:DIGEST`` (of a base), and the lists ``experts``,
``composites``, ``publishers`` and ``search`` (what is found by meaning). Every change has the tag ``*``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from cogen_registry.database import feed
from cogen_registry.database.sessions import Session, Sessions
from cogen_registry.database.tables import Expert, Project, Publisher, Release
from cogen_registry.tag_cache import ANYTHING

_log = logging.getLogger(__name__)
#: Seconds between two looks into the feed.
PULSE = 0.5
_LISTS = {"publisher": "publishers", "composite": "composites"}


@dataclass
class Heard:
    """Some changes. ``tags``: what they touch; ``None``: everything. ``session`` reads what is true now.

    Followers of a low rank may add tags: of what is no longer in the database, only who keeps it still knows.
    """

    session: Session
    items: Sequence[feed.Item]
    tags: set[str] | None

    def keys(self, kind: str) -> list[str]:
        return [key for one, key in self.items if one == kind]

    def about(self, *kinds: str) -> bool:
        """Is any of them of one of these kinds, or about everything?"""
        return self.tags is None or any(kind in kinds for kind, _ in self.items)


Follower = Callable[[Heard], None]


@dataclass
class News:
    """One a service. ``serial``: the last change that everybody here has heard of."""

    sessions: Sessions
    serial: int = -1
    #: While it is being told: the last change that everybody will have heard of.
    coming: int = -1
    _followers: list[tuple[int, Follower]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on changes are heard of; what is read of the database later is at least as new."""
        with self.sessions.read() as session:
            self.serial = self.coming = feed.newest(session)
        self._thread = threading.Thread(target=self._run, name="news", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def follow(self, call: Follower, rank: int) -> None:
        """Those with a low rank hear first: what others are made of must be new before they are made again."""
        # Another list: somebody may be told something right now.
        self._followers = sorted([*self._followers, (rank, call)], key=lambda one: one[0])

    def catch_up(self) -> None:
        """Hear of all that was committed before this call. A database that is away is asked again a moment later."""
        try:
            with self._lock, self.sessions.read() as session:
                serial, items = feed.since(session, self.serial)
                self.coming = serial
                if items:
                    heard = Heard(session, items, tags_of(session, items))
                    for _, call in self._followers:
                        call(heard)
                self.serial = serial
        except SQLAlchemyError as error:
            _log.warning("changes could not be read: %s", str(error).splitlines()[0])

    def _run(self) -> None:
        while not self._stop.wait(PULSE):
            try:
                self.catch_up()
            except Exception:  # noqa: BLE001 - it must not end; what was not heard of is asked for again
                _log.exception("changes could not be taken in")


def tags_of(session: Session, items: Sequence[feed.Item]) -> set[str] | None:
    """What changes touch; ``None``: everything."""
    if feed.ALL in items:
        return None
    tags = {ANYTHING}
    for kind, key in items:
        if kind in ("vector", "embedder"):
            tags.add("search")
            continue
        tags |= {f"{kind}:{key}"} | ({_LISTS[kind]} if kind in _LISTS else set())
        if kind == "project":
            tags |= {"experts", *_of_project(session, key)}
    return tags


def _of_project(session: Session, name: str) -> set[str]:
    """What is shown of any version of its experts may be another."""
    rows = session.execute(
        select(Expert.expert, Expert.lineage, Expert.publisher, Publisher.name)
        .join(Release, Expert.release_id == Release.id)
        .join(Project, Release.project_id == Project.id)
        .join(Publisher, Project.publisher_id == Publisher.id)
        .where(Project.name == name)
        .distinct()
    )
    found = set()
    for expert, lineage, publisher, owner in rows:
        found |= {f"expert:{expert}", f"lineage:{lineage}", f"publisher:{publisher}", f"publisher:{owner}"}
    return found
