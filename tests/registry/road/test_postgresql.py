"""The road of weights and wheels on PostgreSQL: up by every way, down as it was, refused as on SQLite."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select
from support import postgres, wheels, xet
from support.hub import Hub, file, lfs, sha256, tensors
from support.served import Served, serving

from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.database.tables import Places, Xorb

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres.binaries() is None or postgres.user() is None, reason="there is no PostgreSQL here"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed"),
]


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        postgres.cluster() as url,
        serving(tmp_path_factory.mktemp("postgres") / "root", database=url) as opened,
    ):
        yield opened
        opened.healthy()


def test_up_and_down(on_postgres: Served, tmp_path: Path, machines: Any) -> None:
    """Unmodified `hf upload` (by Xet), LFS, small files, a wheel by twine."""
    hub = on_postgres.hub("team")
    data, other = tensors(1, 300_000), tensors(2, 5_000)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text("{}")
    home = machines("home")
    home.run(
        Path(sys.executable).with_name("hf"),
        "upload",
        "team/model",
        folder,
        HF_ENDPOINT=on_postgres.url,
        HF_TOKEN=on_postgres.token("team"),
    )
    engine = connect(str(on_postgres.database))
    with Sessions(engine).read() as session:
        assert session.scalars(select(Places).where(Places.name != "epoch")).all()  # so it was Xet that brought them
        assert session.scalars(select(Xorb)).all() == []
    engine.dispose()
    hub.upload("team/model", other)
    head = hub.committed("team/model", lfs("other.safetensors", other), file("notes.txt", "Größe"))
    assert hub.fetch("team/model", "model.safetensors").content == data
    assert hub.fetch("team/model", "other.safetensors", head).content == other
    assert hub.fetch("team/model", "other.safetensors", Range="bytes=5-9").content == other[5:10]
    got = home.run(
        Path(sys.executable).with_name("hf"),
        "download",
        "team/model",
        "--local-dir",
        "got",
        HF_ENDPOINT=on_postgres.url,
    )
    assert got
    assert (home.home / "got" / "notes.txt").read_text() == "Größe"
    assert (home.home / "got" / "model.safetensors").read_bytes() == data

    wheel = wheels.build(tmp_path, "power")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "twine",
            "upload",
            "--non-interactive",
            "--repository-url",
            f"{on_postgres.url}/legacy/",
            "-u",
            "__token__",
            "-p",
            on_postgres.token("team"),
            str(wheel),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    path = f"/files/{sha256(wheel.read_bytes())}/{wheel.name}"
    assert on_postgres.get(path).content == wheel.read_bytes()
    assert on_postgres.get("/api/v1/experts?q=power").json()["items"][0]["id"] == "power"
    assert on_postgres.command("check").endswith("all whole\n")


def test_refusals_leave_nothing(on_postgres: Served) -> None:
    hub, rival, data = on_postgres.hub("honest"), on_postgres.hub("rival"), tensors(3, 5_000)
    repo, theirs = hub.create("model"), rival.create("model")
    hub.upload(repo, data)
    hub.committed(repo, lfs("model.safetensors", data))
    on_postgres.limit("rival", publisher=10_000)
    before = on_postgres.files()
    for answer, status, words in (
        (rival.commit(theirs, lfs("model.safetensors", data)), 400, "were not uploaded to this repository"),
        (rival.commit(repo, file("a.json", "{}")), 403, "honest belongs to another publisher"),
        (rival.commit(theirs, file("a.txt", "a" * 11_000)), 413, "beyond the limit of 10,000"),
        (hub.commit(repo, file("a.json", b"\x80\x04K\x01.")), 400, "a pickle in disguise"),
        (hub.commit(repo, file("a\0b.json", "{}")), 400, "path"),
        (hub.commit(repo, file("a.json", "{}"), parent="0" * 40), 412, "main has moved on"),
    ):
        assert answer.status_code == status, answer.text
        assert words in answer.json()["error"]
    assert on_postgres.files() == before


def test_writers_at_once(on_postgres: Served) -> None:
    """Where writers don't wait for each other: no commit is lost, and a name belongs to one."""
    hub = on_postgres.hub("many")
    repo = hub.create("model")
    same = tensors(4, 5_000)
    answers: list[requests.Response] = []

    def work(number: int) -> None:
        if number % 2:
            grant = hub.send("GET", f"/api/models/{repo}/xet-write-token/main").json()
            headers = {"Authorization": f"Bearer {grant['accessToken']}"}
            url, name = f"{grant['casUrl']}/v1", sha256(same)
            requests.post(f"{url}/xorbs/default/{name}", xet.chunk(same), headers=headers, timeout=30)
            body = xet.shard(xet.file(same, [(name, 0, 1, len(same))]))
            requests.post(f"{url}/shards", body, headers=headers, timeout=30)
        else:
            (output,) = hub.batch(repo, (sha256(same), len(same)))
            if "actions" in output:
                hub.put(output["actions"]["upload"]["href"], same)
        lines = [lfs(f"{number}.safetensors", same), file(f"{number}.json", str(number)), file("same.json", "{}")]
        answers.append(hub.commit(repo, *lines))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 8, [answer.text for answer in answers]
    for number in range(8):
        assert hub.fetch(repo, f"{number}.safetensors").content == same
        assert hub.fetch(repo, f"{number}.json").text == str(number)
    assert len(hub.send("GET", f"/api/models/{repo}/commits/main").json()) == 9
    assert on_postgres.command("check").endswith("all whole\n")


def _create(hub: Hub, name: str, number: int) -> requests.Response:
    return hub.send("POST", "/api/repos/create", json={"name": name})


def _tag(hub: Hub, repo: str, number: int) -> requests.Response:
    return hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"})


def _put(hub: Hub, url: str, data: bytes, number: int) -> requests.Response:
    return hub.put(url, data)


def test_the_same_at_the_same_moment(on_postgres: Served, tmp_path: Path) -> None:
    """One of them makes it, the others hear that it is there; nobody hears of an error in the service."""
    hub, key = on_postgres.hub("twice"), tensors(5, 100)
    for round in range(5):
        created = at_once(partial(_create, hub, f"m{round}"))
        assert sorted(created) == [200] + [409] * 7
        repo = f"twice/m{round}"
        hub.committed(repo, file("a.json", "{}"))
        tagged = at_once(partial(_tag, hub, repo))
        assert sorted(tagged) == [200] + [409] * 7
        url = hub.place(repo, key)
        assert at_once(partial(_put, hub, url, key)) == [200] * 8
    claimed = wheels.build(tmp_path, "claimed")
    for number in range(8):
        on_postgres.token(f"claims-{number}")
    form = {":action": "file_upload", "filetype": "bdist_wheel", "name": "cogen-plugin-claimed", "version": "1.0"}
    sent = {"content": (claimed.name, claimed.read_bytes())}
    names = at_once(lambda number: on_postgres.hub(f"claims-{number}").send("POST", "/legacy/", data=form, files=sent))
    assert names.count(200) == 1
    assert set(names) <= {200, 403, 409}


def at_once(call: Callable[[int], requests.Response], times: int = 8) -> list[int]:
    """Statuses of the same call from several threads."""
    with ThreadPoolExecutor(times) as pool:
        return [answer.status_code for answer in pool.map(call, range(times))]
