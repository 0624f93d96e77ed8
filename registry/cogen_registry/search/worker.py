"""A thread that loads the embedding model, gives every current expert its vector, and waits for more."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, text, update

from cogen.sharing.pairs import without_pairs
from cogen_registry.database.tables import Base, Expert

if TYPE_CHECKING:
    from cogen_registry.search.index import Search

#: Texts that are embedded at once: a query waits for one batch at most, a quarter of a second on one core.
BATCH = 4
#: Seconds after the start before the model is loaded: its import would slow down the start itself.
_PATIENCE = 0.5
#: Seconds before the next try, where one failed.
_PAUSE = 5.0
#: A process is busy whose other threads take so much of a core; embedding gets this share of the time then.
_BUSY, _SHARE = 0.5, 0.05
#: Seconds of rest at the most.
_REST = 10.0
_STATE = "embedder"
#: Experts whose language is looked at.
_NEWEST = 200


class Worker:
    """Started and stopped with the application; a daemon, so that nobody waits for a model that is loading.

    Every replica loads the model, for queries; the leader alone embeds experts.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self._wake, self._stop = threading.Event(), threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="search", daemon=True)

    def start(self) -> None:
        service = self.search.service
        service.follow(lambda heard: self._wake.set(), rank=9)
        service.leader.elected(self._wake.set)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        search = self.search
        if not search.embedder.wanted or self._stop.wait(_PATIENCE) or not search.embedder.load():
            return
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._work()
                self._wake.wait()
            except Exception:  # a database that is away for a while
                logging.getLogger("cogen_registry").exception("experts could not be embedded")
                self._wake.wait(_PAUSE)

    def _work(self) -> None:
        search, leader = self.search, self.search.service.leader
        if not search.adopted and (leader.leads or known_model(search) == search.embedder.identity):
            adopt(search)
            read_vectors(search)
        pace = Pace()
        while leader.leads and search.adopted and not self._stop.is_set() and embed_some(search):
            self._stop.wait(pace.pause())
        if not self._warned and (warning := unread_experts(search)):
            self._warned = True
            logging.getLogger("cogen_registry").warning("%s", warning)


class Pace:
    """Whoever asks comes first: while the process is busy otherwise, embedding takes a twentieth of the time.

    Newcomers are found by their words at once; by meaning, when it is quieter.
    """

    def __init__(self) -> None:
        self._before = time.monotonic(), time.process_time(), time.thread_time()

    def pause(self) -> float:
        """Seconds to rest, after a piece of work by this thread."""
        now = time.monotonic(), time.process_time(), time.thread_time()
        wall, whole, own = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        busy = whole - own > _BUSY * wall
        return min(_REST, own * (1 / _SHARE - 1)) if busy else 0.0


def unread_experts(search: Search) -> str | None:
    """A warning, if some of the newest experts are written in a language that the embedding model does not know."""
    from cogen.routing.reading import UNREAD

    with search.service.sessions.read() as session:
        rows = session.execute(
            select(Expert.expert, Expert.text).where(Expert.current).order_by(Expert.id.desc()).limit(_NEWEST)
        ).all()
    texts = {one.expert: without_pairs(one.text or "") for one in rows}
    poor = sorted(name for name, text in texts.items() if text and search.embedder.unread([text]) > UNREAD)
    if not poor:
        return None
    named = ", ".join(poor[:3]) + (f" and {len(poor) - 3} more" if len(poor) > 3 else "")
    return (
        f"the embedding model {search.embedder.source} does not know the language of {named}: they are found by words "
        "alone; start the service with --embedder multilingual"
    )


def known_model(search: Search) -> str | None:
    """Whose vectors the database has."""
    with search.service.sessions.read() as session:
        found: str | None = session.scalar(text("SELECT value FROM search_state WHERE name = :name"), {"name": _STATE})
        return found


def adopt(search: Search) -> None:
    """Vectors of another model are worth nothing beside this one's: drop them."""
    identity = search.embedder.identity
    name = {"name": _STATE}
    if known_model(search) != identity:
        with search.service.sessions.write() as session:
            known = session.scalar(text("SELECT value FROM search_state WHERE name = :name"), name)
            session.execute(text("DELETE FROM search_state WHERE name = :name"), name)
            session.execute(
                text("INSERT INTO search_state (name, value) VALUES (:name, :value)"), name | {"value": identity}
            )
            if known is not None:
                session.execute(update(Expert).values(vector=None))
            search.service.change(session, "embedder")
        search.service.changed()
    search.adopted = True


def read_vectors(search: Search) -> None:
    """Into memory, those that were made in an earlier run."""
    catalogue = search.fresh()
    with search.lock, search.service.sessions.read() as session:
        catalogue.read_vectors(session)
        search.adopted = True


def embed_some(search: Search) -> int:
    """Give a few experts that lack one their vectors; how many. Call it until nothing is left."""
    ids = search.fresh().missing(BATCH)
    if not ids:
        return 0
    columns = (Expert.id, Expert.text, Expert.title, Expert.vector)
    with search.service.sessions.read() as session:
        found = session.execute(select(*columns).where(Expert.id.in_(ids))).all()
    fresh = [one for one in found if one.vector is None]
    kept = {one.id: one.vector for one in found}
    if fresh:
        vectors = search.embedder.texts([without_pairs(one.text) or one.title for one in fresh]).astype("<f4")
        kept |= {one.id: vector.tobytes() for one, vector in zip(fresh, vectors, strict=True)}
        table = Base.metadata.tables[Expert.__tablename__]
        statement = update(table).where(table.c.id == bindparam("row")).values(vector=bindparam("made"))
        with search.service.sessions.write() as session:
            session.connection().execute(statement, [{"row": one.id, "made": kept[one.id]} for one in fresh])
            search.service.change(session, "vector", ",".join(str(one.id) for one in fresh))
        search.service.changed()
    with search.lock:
        search.catalogue.take(list(kept.items()))
    return len(found)
