"""The feed of changes: whole, in order, and heard of by every process over one database."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from support.shelf import open_service, put

from cogen_registry.database import feed
from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.database.tables import Change, Counter, Expert, now
from cogen_registry.news import Heard
from cogen_registry.search.index import Query, search_of
from cogen_registry.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Service:  # type: ignore[misc]
    opened = open_service(tmp_path / "root")
    yield opened  # type: ignore[misc]
    opened.close()


def write(sessions: Sessions, *items: feed.Item) -> None:
    with sessions.write() as session:
        for kind, key in items:
            feed.change(session, kind, key)


def test_numbers_have_no_gaps_and_a_transaction_that_fails_leaves_none(service: Service) -> None:
    write(service.sessions, ("project", "a"), ("expert", "a"), ("project", "a"))

    def fail() -> None:
        with service.sessions.write() as session:
            feed.change(session, "project", "never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    write(service.sessions, ("project", "b"))
    with service.sessions.read() as session:
        assert feed.since(session, 0) == (3, [("project", "a"), ("expert", "a"), ("project", "b")])
        assert feed.since(session, 2) == (3, [("project", "b")])
        assert feed.since(session, 3) == (3, [])
        assert feed.since(session, 4) == (3, [feed.ALL])  # a database of before a restore


def test_who_was_away_for_long_forgets_everything(service: Service) -> None:
    write(service.sessions, *(("project", str(number)) for number in range(5)))
    with service.sessions.write() as session:
        session.execute(delete(Change).where(Change.serial < 3))
    with service.sessions.read() as session:
        assert feed.since(session, 2)[1] == [("project", "2"), ("project", "3"), ("project", "4")]
        assert feed.since(session, 1) == (5, [feed.ALL])


def test_what_is_old_is_trimmed(service: Service) -> None:
    write(service.sessions, ("project", "a"), ("project", "b"))
    with service.sessions.write() as session:
        old = now() - feed._KEPT - feed._KEPT
        session.execute(update(Change).where(Change.serial == 1).values(created=old))
    service.tidy()
    with service.sessions.read() as session:
        assert [one.serial for one in session.query(Change)] == [2]
        assert session.get_one(Counter, 1).serial == 2


def test_many_writers_at_once(service: Service) -> None:
    """Every change is heard of exactly once, in the order of their numbers."""
    heard: list[feed.Item] = []
    service.follow(lambda one: heard.extend(one.items))

    def work(seed: int) -> None:
        for number in range(20):
            write(service.sessions, ("project", f"{seed}-{number}"))
            service.changed()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(heard) == sorted(("project", f"{seed}-{number}") for seed in range(4) for number in range(20))
    assert service.serial == 80


def test_a_command_beside_the_service_is_heard_of(service: Service) -> None:
    """Another connection, which knows nothing of this process: as `cogen-registry` commands write."""
    row = put(service, "power")
    assert search_of(service).find(Query()).total == 1
    engine = connect(service.settings.database_url)
    begin = time.monotonic()
    with Sessions(engine).write() as session:
        session.execute(update(Expert).where(Expert.id == row).values(current=False))
        feed.change(session, "project", "cogen-plugin-power")
    engine.dispose()
    while search_of(service).find(Query()).total:
        assert time.monotonic() - begin < 10
        time.sleep(0.01)


def test_a_follower_that_fails_hears_it_again(service: Service) -> None:
    """Nothing is taken for heard that was not taken in."""
    heard: list[feed.Item] = []

    def follow(one: Heard) -> None:
        heard.extend(one.items)
        if len(heard) == 1:
            raise ZeroDivisionError

    service.follow(follow)
    write(service.sessions, ("project", "a"))
    with pytest.raises(ZeroDivisionError):
        service.news.catch_up()
    service.news.catch_up()
    assert heard == [("project", "a")] * 2


def test_who_says_nothing_has_everything_read_again(service: Service) -> None:
    heard: list[Heard] = []
    service.follow(heard.append)
    service.changed()
    assert [one.tags for one in heard] == [None]
    write(service.sessions, ("expert", "power"))
    service.changed()
    assert heard[-1].tags == {"*", "expert:power"}


def test_a_change_of_a_project_touches_what_shows_it(service: Service) -> None:
    heard: list[Heard] = []
    service.follow(heard.append)
    put(service, "power", team="gridworks")
    tags = heard[-1].tags or set()
    assert {"project:cogen-plugin-power", "expert:power", "publisher:gridworks", "experts", "*"} <= tags
    assert [tag for tag in tags if tag.startswith("lineage:sha256:")]
    put(service, "other")
    assert "expert:power" not in (heard[-1].tags or set())
