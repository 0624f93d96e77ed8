"""The operator's commands on PostgreSQL, beside the running service."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import postgres
from support.desk import Desk
from support.hub import file, lfs, tensors
from support.issuer import audience_of, issuing
from support.private import private_changes, private_files
from support.private import suite as private_suite
from support.served import serving
from support.signed import PATH, signed
from support.wheels import package_files

from cogen.trust import new_key, prove_possession

pytestmark = [
    pytest.mark.skipif(postgres.binaries() is None or postgres.user() is None, reason="there is no PostgreSQL here"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed"),
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("postgres")
    with postgres.cluster() as url, serving(folder / "root", database=url) as served:
        yield Desk(served, folder)
        served.healthy()


def test_take_down_purge_and_restore(desk: Desk) -> None:
    wheel = desk.published("team", "turbine")
    other = desk.published("team", "boiler")
    hub, data = desk.served.hub("team"), tensors(1, 500)
    repo = hub.create("model")
    hub.upload(repo, data)
    hub.committed(repo, lfs("model.safetensors", data), file("config.json", "{}"))
    desk.command("takedown", "publisher", "team", "--reason", "a test of everything")
    for path in (wheel, other, f"/{repo}/resolve/main/config.json", "/api/v1/experts/turbine", "/publishers/team"):
        assert desk.get(path).status_code == 410, path
    assert desk.get("/api/v1/experts").json()["total"] == 0
    desk.command("restore", "publisher", "team")
    assert desk.get("/api/v1/experts").json()["total"] == 2
    desk.command("takedown", "repository", repo, "--reason", "a test of a purge", "--purge")
    desk.command("takedown", "expert", "boiler", "--reason", "a test of a purge", "--purge")
    assert [desk.get(path).status_code for path in (other, f"/{repo}/resolve/main/config.json")] == [410, 410]
    blobs = sorted(path.name for path in (desk.served.root / "blobs").glob("??/*"))
    assert len(blobs) == 2
    assert desk.get(wheel).status_code == 200
    assert desk.command("check").endswith("all whole\n")


def test_names_transfer_and_downloads(desk: Desk) -> None:
    assert desk.get(desk.published("team", "furnace")).status_code == 200
    desk.served.token("rival")
    assert desk.upload("rival", "furnaces").status_code == 403
    desk.command("names", "consent", "cogen-plugin-furnaces", "rival")
    assert desk.upload("rival", "furnaces").status_code == 200
    desk.command("names", "prohibit", "*kiln*", "--reason", "no kilns")
    assert desk.upload("rival", "big-kiln").status_code == 403
    desk.command("project", "transfer", "cogen-plugin-furnace", "rival")
    assert desk.upload("rival", "furnace", "2.0").status_code == 200


def test_the_same_figures_at_the_same_time(desk: Desk, tmp_path: Path) -> None:
    """Writers do not wait for each other here: the same signed figures are kept once, whoever comes first."""
    made = package_files("ward", **private_changes("ward"))
    kept = {name: data for name, data in made.items() if name in ("__init__.py", "expert.toml")}
    base = {name: data for name, data in made.items() if name.startswith("base/")}
    assert desk.upload("clinic", "ward", content=kept | base | private_files("ward")).json()["state"] == "released"
    key = tmp_path / "key.pem"
    new = {"pem": new_key(key), "proof": prove_possession(key, "clinic")}
    assert desk.ask("POST", "/api/v1/keys", "clinic", json=new).status_code == 201
    names = ("title", "metric", "documents", "bytes", "text_digest", "date", "harness")
    same = {name: private_suite()[name] for name in names} | {"suite": private_suite()["id"]}
    bodies = [signed(key, **same) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: desk.ask("POST", PATH, "clinic", json=body), bodies))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert desk.command("check").endswith("all whole\n")


def test_a_token_by_exchange_and_the_log(desk: Desk) -> None:
    desk.served.token("team")
    with issuing(audience_of(desk.served)) as issuer:
        desk.command(
            "trusted-publisher",
            "add",
            "cogen-plugin-built",
            "--issuer",
            issuer.url,
            "--publisher",
            "team",
            "--claims",
            "repository=org/power",
        )
        token = issuer.token()
        answers = [desk.ask("POST", "/_/oidc/mint-token", json={"token": token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 422]
    assert desk.upload("team", "built", token=answers[0].json()["token"]).status_code == 200
    rows: Any = json.loads(desk.command("log", "--json"))
    assert [one["action"] for one in rows][-2:] == ["token.mint", "release.upload"]
    assert len({one["digest"] for one in rows}) == len(rows)
    assert desk.command("check").endswith("all whole\n")
