"""Two and three replicas over one PostgreSQL and one object store: killed, cut off, and nothing is lost or left.

In the default run 3 kills and one restart of the database; the long one (``-m slow``) 30 kills and 3 restarts.
"""

from __future__ import annotations

import importlib.util
import random
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import requests
from sqlalchemy import func, select, text, update
from support import moto_server, postgres, shelf
from support.replicas import SETTINGS, Crowd, Replica, whole
from support.served import tokens_of

from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.database.tables import Lease, Process, now
from cogen_registry.errors import Refused
from cogen_registry.replicas.leader import _NUMBER
from cogen_registry.replicas.process import give_up, void
from cogen_registry.service import REFERENCES, Service
from cogen_registry.settings import Settings

pytestmark = [
    pytest.mark.skipif(postgres.binaries() is None or postgres.user() is None, reason="there is no PostgreSQL here"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("moto") is None, reason="moto is not installed"),
]
PUBLISHERS = ("wheel-a", "wheel-b", "lfs-a", "xet-a")
ALIVE, TIDY = 3.0, 4.0
_LONG_AGO = now().replace(year=2020, month=1, day=1)


@dataclass
class Site:
    """A database, a bucket, and as many replicas as are asked for."""

    folder: Path
    database: postgres.Server
    bucket: str
    stack: ExitStack

    def replicas(self, count: int) -> list[Replica]:
        settings, shared = self.folder / "settings.toml", self.folder / "shared"
        shelf.initialise(shared, self.database.url)
        settings.write_text(SETTINGS.format(alive=ALIVE, tidy=TIDY, keys=shared / "keys"))
        made = [
            Replica(self.folder, number, self.database.url, f"s3://{self.bucket}/registry", settings)
            for number in range(count)
        ]
        for replica in made:  # at the same moment
            self.stack.callback(replica.stop)
            replica.start(wait=False)
        for replica in made:
            replica.wait()
        return made

    def sessions(self) -> Sessions:
        engine = connect(self.database.url)
        self.stack.callback(engine.dispose)
        return Sessions(engine)

    def objects(self) -> set[str]:
        client = boto3.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = {item["Key"].rpartition("/")[2] for page in pages for item in page.get("Contents", ())}
        assert client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []) == []
        client.close()
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """PostgreSQL, which these tests restart, and an object store."""
    with postgres.server() as opened, moto_server.bucket("first"):
        yield opened


@pytest.fixture
def site(server: postgres.Server, tmp_path: Path) -> Iterator[Site]:
    name = "b" + secrets.token_hex(8)
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    with server.fresh() as database, ExitStack() as stack:
        yield Site(tmp_path, database, name, stack)


@pytest.mark.parametrize(
    ("count", "kills", "restarts"),
    [
        (2, 3, 1),
        pytest.param(2, 30, 3, marks=pytest.mark.slow),
        pytest.param(3, 30, 3, marks=pytest.mark.slow),
    ],
)
def test_killed_under_load(site: Site, count: int, kills: int, restarts: int) -> None:
    replicas = site.replicas(count)
    sessions, moments = site.sessions(), random.Random(count * kills)
    tokens = tokens_of(replicas[0].root, *PUBLISHERS, database=site.database.url)
    when = set(moments.sample(range(1, kills), restarts))
    begin = time.monotonic()
    with Crowd(replicas, tokens, site.folder) as crowd:
        for number in range(kills):
            time.sleep(moments.uniform(0.2, 1.5))
            if number in when:
                site.database.restart(moments.uniform(0, 1.5))
                time.sleep(1)
            victim = moments.choice(replicas)
            victim.kill()
            victim.start()
        time.sleep(3)
    assert crowd.problems == []
    seconds = time.monotonic() - begin
    for replica in replicas:
        assert whole(replica, crowd.accepted) == []
    for kind in ("wheel", "lfs", "xet"):
        assert [one for one in crowd.accepted if one.kind == kind], crowd.figures()
    _nothing_left(site, sessions, count)
    for replica in replicas:  # the same again, after every clean-up
        assert whole(replica, crowd.accepted) == []
    sys.stdout.write(
        f"{count} replicas, {kills} kills, {restarts} restarts of the database in {seconds:.0f} s: {crowd.figures()}\n"
    )
    if restarts > 1:  # a measurement, with enough of them
        assert sorted(crowd.stale)[int(len(crowd.stale) * 0.99)] <= 2.0


def _nothing_left(site: Site, sessions: Sessions, count: int) -> None:
    """Soon there are as many processes as live, no leases, and no blob that no row names."""
    patience = time.monotonic() + 60
    while True:
        with sessions.read() as session:
            living = session.scalar(select(func.count()).select_from(Process))
            leases = session.scalar(select(func.count()).select_from(Lease))
            named = {one for column in REFERENCES for one in session.scalars(select(column).distinct())}
        left = site.objects() - named
        if (living, leases, left) == (count, 0, set()):
            break
        assert time.monotonic() < patience, (living, leases, left)
        time.sleep(0.5)
    assert named <= site.objects()


def test_one_leads_and_another_follows_it(site: Site) -> None:
    """Whoever holds the lock works; when it dies, another one does within seconds."""
    replicas = site.replicas(2)
    sessions = site.sessions()

    def leader() -> int | None:
        with sessions.read() as session:
            held = "locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = :number"
            return session.scalar(text(f"SELECT pid FROM pg_locks WHERE {held}"), {"number": _NUMBER})

    begin = time.monotonic()
    while (first := leader()) is None:
        assert time.monotonic() - begin < 10
        time.sleep(0.1)
    for replica in replicas:
        replica.kill()
        begin = time.monotonic()
        while (now := leader()) in (None, first):
            assert time.monotonic() - begin < 10
            time.sleep(0.1)
            if time.monotonic() - begin > 3:  # it was the other one that led
                break
        if now not in (None, first):
            return
        replica.start()
    raise AssertionError("nobody took over")


def test_other_blobs_are_refused(site: Site) -> None:
    """Two servers over one database with blobs in two places would each lack what the other has."""
    (replica,) = site.replicas(1)
    settings = site.folder / "settings.toml"
    other = Replica(site.folder, 7, site.database.url, f"s3://{site.bucket}/elsewhere", settings)
    other.start(wait=False)
    assert other.process is not None
    assert other.process.wait(60) == 1
    output = other.log.read_text()
    assert "serves this database too, with its blobs at s3://" in output
    assert "give all replicas the same --blobs" in output
    assert "Traceback" not in output
    same = Replica(site.folder, 0, site.database.url, f"s3://{site.bucket}/registry", settings)
    same.start(wait=False)
    assert same.process is not None
    assert same.process.wait(60) == 1
    assert "is served by another process" in same.log.read_text()
    assert requests.get(f"{replica.url}/healthz", timeout=10).status_code == 200


def test_a_process_that_was_taken_for_dead_writes_nothing(site: Site, tmp_path: Path) -> None:
    """It held a blob, was not heard of, and the blob was removed: its transaction must not name it."""

    def opened(name: str) -> Service:
        return Service.open(
            Settings(
                root=tmp_path / name,
                database=site.database.url,
                blobs=f"s3://{site.bucket}/x",
                embedder="none",
                alive_seconds=600,
            )
        )

    slow, other = opened("slow"), opened("other")
    try:
        with slow.blobs.stage() as staged:
            staged.write(b"bytes")
            name = staged.keep()
        assert not other.discard(name)  # somebody else holds it
        other.tidy()
        assert slow.blobs.size(name) == 5
        time.sleep(0.3)
        assert slow.alive is not None
        with other.sessions.bare() as session:  # as if it had not been heard of for long
            session.execute(update(Process).where(Process.name == slow.alive.name).values(seen=_LONG_AGO))
        assert give_up(other.sessions, 600) == 1
        assert void(other.sessions) == {name}
        other.bury()
        assert slow.blobs.size(name) is None
        with pytest.raises(Refused) as refused:
            _write(slow)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "2")
        slow.alive._register()
        with pytest.raises(Refused):  # what was held under the old name is not settled yet
            _write(slow)
        slow.blobs.release(name)
        _write(slow)
        other.news.catch_up()
        assert other.serial == slow.serial > 0
    finally:
        slow.close()
        other.close()


def _write(service: Service) -> None:
    with service.sessions.write() as session:
        service.change(session, "publisher", "x")
    service.changed()
