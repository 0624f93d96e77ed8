"""A full disk answers 507, a database or a store that is gone 503, each with a hint; once it is back all goes on."""

from __future__ import annotations

import errno
import importlib.util
import itertools
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from sqlalchemy import exc
from support import postgres, shelf, wheels
from support.hub import Hub, file, tensors
from support.served import Served, serving, started

from cogen_registry.failures import failure

FREE = 40_000_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FREE}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only who may mount has a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def reported(answer: requests.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    output = answer.json()
    assert output["error"]
    assert output["hint"]
    assert "\n" not in output["error"] + output["hint"]
    assert (status == 503) <= ("Retry-After" in answer.headers)


def post(served: Served, hub: Hub, path: Path, id: str) -> requests.Response:
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel",
        "name": f"cogen-plugin-{id}",
        "version": "1.0",
    }
    content = {"content": (path.name, path.read_bytes())}
    return requests.post(f"{served.url}/legacy/", data=fields, files=content, headers=hub.headers, timeout=120)


def test_a_full_disk(small: Path, tmp_path: Path) -> None:
    """By every way in; then reads go on, and with room again writes do."""
    with serving(small / "root") as served:
        hub = served.hub("team")
        repo = hub.create("model")
        hub.committed(repo, file("a.json", "{}"))
        good, large = wheels.build(tmp_path, "good"), tensors(1, 2_000_000)
        urls = [hub.place(repo, data) for data in (large, tensors(2, 1_500_000))]
        before = served.files()
        fill = small / "fill"
        with fill.open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
            full.writelines(itertools.repeat(b"x" * 4096))

        reported(requests.put(urls[0], data=large, timeout=60), 507)
        reported(post(served, hub, good, "good"), 507)
        reported(hub.commit(repo, file("b.txt", "b" * 900_000)), 507)
        for n in range(200):  # the log of the database has room for a while
            answer = hub.send("POST", "/api/repos/create", json={"name": f"r{n}"})
            if answer.status_code != 200:
                break
        reported(answer, 507)
        for path in ("/healthz", "/", "/simple/", f"/{repo}/resolve/main/a.json"):
            assert served.get(path).status_code == 200
        fill.unlink()
        assert served.files() == before
        assert requests.put(urls[1], data=tensors(2, 1_500_000), timeout=60).status_code == 200
        assert post(served, hub, good, "good").status_code == 200
        assert hub.send("POST", "/api/repos/create", json={"name": "after"}).status_code == 200
        served.healthy()


def test_a_locked_database(tmp_path: Path) -> None:
    """Who holds the lock of SQLite for longer than anybody waits."""
    with serving(tmp_path / "root", more="lock_seconds = 1.0") as served:
        hub = served.hub("team")
        other = sqlite3.connect(served.root / "registry.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        place = f"{served.url}/api/repos/create"
        reported(requests.post(place, json={"name": "model"}, headers=hub.headers, timeout=120), 503)
        assert served.get("/api/v1/experts").status_code == 200
        other.execute("ROLLBACK")
        other.close()
        hub.create("model")
        served.healthy()


@pytest.mark.skipif(postgres.binaries() is None or postgres.user() is None, reason="there is no PostgreSQL here")
@pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed")
def test_postgresql_is_gone(tmp_path: Path) -> None:
    with ExitStack() as database:
        url = database.enter_context(postgres.server()).url  # one of its own: it is stopped
        with serving(tmp_path / "root", database=url) as served:
            hub = served.hub("team")
            repo = hub.create("model")
            # PostgreSQL takes no NUL, SQLite does: here it must be refused before
            for path in ("/api/v1/experts?q=%00", "/api/v1/experts/a%00b", "/simple/%00/", f"/{repo}/resolve/main/%00"):
                reported(served.get(path), 400)
            reported(hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": "a\0b"}), 400)
            database.close()
            reported(hub.send("POST", "/api/repos/create", json={"name": "other"}), 503)
            reported(served.get("/api/v1/experts/nobody"), 503)
            reported(served.get("/api/v1/whoami", **hub.headers), 503)
            page = served.get("/experts/nobody", Accept="text/html")
            assert page.status_code == 503
            assert page.headers["Retry-After"]
            assert "<html" in page.text
            assert served.get("/healthz").status_code == 200
            assert "Traceback" not in served.log.read_text()


def test_an_object_store_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"http://127.0.0.1:{port}"
    for name, value in (
        ("ENDPOINT_URL", place),
        ("ACCESS_KEY_ID", "a"),
        ("SECRET_ACCESS_KEY", "b"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    store = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                boto3.client("s3").create_bucket(Bucket="blobs")
                break
            except Exception:  # noqa: BLE001 - until it listens
                time.sleep(0.2)
        root = shelf.fresh_root(tmp_path / "root")
        with started(root, "--blobs", "s3://blobs/x") as served:
            hub = served.hub("team")
            repo, data = hub.create("model"), tensors(1, 1000)
            hub.upload(repo, data)
            url = hub.place(repo, tensors(2, 1000))
            store.kill()
            store.wait()
            reported(requests.put(url, data=tensors(2, 1000), timeout=120), 503)
            assert served.get("/healthz").status_code == 200
            assert "Traceback" not in served.log.read_text()
    finally:
        store.kill()
        store.wait()


class Postgres(Exception):
    """As psycopg's: with a state."""

    def __init__(self, state: str, output: str = "no") -> None:
        super().__init__(output)
        self.sqlstate = state


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "x"), 507),
        (OSError(errno.EDQUOT, "x"), 507),
        (OSError(errno.EIO, "x"), 503),
        (OSError(errno.EMFILE, "x"), 503),
        (OSError(errno.ENOENT, "x"), None),
        (ValueError("x"), None),
        (OverflowError("x"), 400),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "x"), 400),
        (exc.OperationalError("s", {}, sqlite3.OperationalError("database or disk is full")), 507),
        (exc.OperationalError("s", {}, sqlite3.OperationalError("database is locked")), 503),
        (exc.OperationalError("s", {}, sqlite3.OperationalError("disk I/O error")), 503),
        (exc.OperationalError("s", {}, Postgres("53100")), 507),
        (exc.OperationalError("s", {}, Postgres("57P01")), 503),
        (exc.DataError("s", {}, Postgres("22003")), 400),
        (exc.DBAPIError("s", {}, Postgres("57P01"), connection_invalidated=True), 503),
        (exc.StatementError("m", "s", {}, OverflowError("x")), 400),
        (exc.ProgrammingError("s", {}, Postgres("42601")), None),
        (exc.TimeoutError("pool"), 503),
    ],
    ids=str,
)
def test_what_becomes_what(error: Exception, status: int | None) -> None:
    found = failure(error)
    assert (found.status if found else None) == status
    assert found is None or found.hint
