"""What was taken down is nowhere, at once, while the service runs; its names stay taken; it comes back, or never."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.hub import file, lfs, sha256, tensors

from cogen_registry.cli import main
from cogen_registry.operators.subjects import KINDS

Ids = Callable[[str], str]
WHY = "it held names of patients"


def gone(answer: Any, status: int = 410, why: str = WHY) -> None:
    assert answer.status_code == status, (answer.url, answer.status_code, answer.text[:300])
    assert why in answer.text


def shards_of(desk: Any, id: str) -> list[str]:
    """Paths of the shards of the static index that hold an expert now."""
    indexed(desk)
    named = desk.get("/api/v1/index.json").json()["shards"]
    paths = [f"/api/v1/index/{one['name']}.{one['sha256']}.json" for one in named]
    return [path for path in paths if f'"{id}"' in desk.get(path).text]


def indexed(desk: Any) -> set[str]:
    """Ids in the shards of the static index, as it is once everything that was changed is in it."""
    patience = time.monotonic() + 20
    while (total := desk.get("/api/v1/index.json").json()["total"]) != desk.get("/api/v1/experts").json()["total"]:
        assert time.monotonic() < patience, total
        time.sleep(0.05)
    shards = desk.get("/api/v1/index.json").json()["shards"]
    parts = [desk.get(f"/api/v1/index/{one['name']}.{one['sha256']}.json").json() for one in shards]
    return {card["id"] for part in parts for card in part["experts"]}


def listed(desk: Any, id: str) -> dict[str, bool]:
    """Where an expert can be found."""
    project = f"cogen-plugin-{id}"
    return {
        "simple": project in desk.get("/simple/").text,
        "search": id in desk.get(f"/api/v1/experts?q={id}").text,
        "list": any(one["id"] == id for one in desk.get("/api/v1/experts?limit=100").json()["items"]),
        "index": id in indexed(desk),
        "page": f">{id}<" in desk.page("/experts").text,
    }


def nowhere(desk: Any, id: str, status: int = 410, why: str = WHY) -> None:
    assert not any(listed(desk, id).values()), listed(desk, id)
    for path in (
        f"/api/v1/experts/{id}",
        f"/api/v1/experts/{id}/1.0",
        f"/api/v1/releases/cogen-plugin-{id}/1.0",
        f"/simple/cogen-plugin-{id}/",
    ):
        gone(desk.get(path), status, why)
        assert set(desk.get(path).json()) == {"error", "hint"}
    page = desk.page(f"/experts/{id}")
    gone(page, status, why)
    assert "Taken down" in page.text


def test_a_release_is_nowhere_at_once_and_comes_back(desk: Any, ids: Ids) -> None:
    id = ids("power")
    wheel = desk.published("team", id)
    assert all(listed(desk, id).values())
    (shard,) = shards_of(desk, id)
    output = desk.command("takedown", "release", f"cogen-plugin-{id}==1.0", "--reason", WHY)
    assert "took down release" in output
    nowhere(desk, id)
    assert desk.get(shard).status_code == 404  # nor under the name that it had before
    gone(desk.get(wheel))
    gone(desk.get(wheel + ".metadata"))
    gone(desk.ask("HEAD", wheel), why="")
    gone(desk.ask("GET", f"/api/v1/releases/cogen-plugin-{id}/1.0", "team"))  # its owner hears it, too
    again = desk.upload("team", id)
    gone(again)
    assert desk.upload("rival", id).status_code == 403
    gone(desk.upload("team", id, title="Another wheel of the same version"))
    assert desk.command("check").endswith("all whole\n")
    assert WHY in desk.command("takedowns")
    desk.command("takedown", "release", f"cogen-plugin-{id}==1.0", "--reason", WHY, code=1)
    desk.command("restore", "release", f"cogen-plugin-{id}==1.0")
    assert all(listed(desk, id).values())
    assert desk.get(wheel).status_code == 200


def test_an_older_version_takes_its_place(desk: Any, ids: Ids) -> None:
    id = ids("grid")
    desk.published("team", id, "1.0")
    desk.published("team", id, "2.0")
    desk.command("takedown", "release", f"cogen-plugin-{id}==2.0", "--reason", WHY)
    assert desk.get(f"/api/v1/experts/{id}").json()["version"] == "1.0"
    gone(desk.get(f"/api/v1/experts/{id}/2.0"))
    assert [one["filename"].split("-")[1] for one in files_of(desk, id)] == ["1.0"]


def files_of(desk: Any, id: str) -> Any:
    return desk.get(f"/simple/cogen-plugin-{id}/", Accept="application/vnd.pypi.simple.v1+json").json()["files"]


@pytest.mark.parametrize("kind", ["release", "expert"])
def test_names_stay_taken_for_versions_to_come(desk: Any, ids: Ids, kind: str) -> None:
    id = ids(kind)
    desk.published("team", id)
    desk.command("takedown", kind, f"cogen-plugin-{id}" if kind == "release" else id, "--reason", WHY, "--legal")
    nowhere(desk, id, 451)
    gone(desk.upload("team", id, "2.0"), 451)
    assert desk.upload("rival", id, "2.0").status_code == 403
    if kind == "expert":  # nor from another project of another team
        assert desk.upload("rival", id, "2.0", project=f"cogen-plugin-{id}-again").status_code in (403, 451)


def test_a_purge_deletes_what_nothing_else_names(desk: Any, ids: Ids) -> None:
    id = ids("purged")
    wheel = desk.published("team", id)
    blob = wheel.split("/")[2]
    place = desk.served.root / "blobs" / blob[:2] / blob
    assert place.exists()
    desk.command("takedown", "release", f"cogen-plugin-{id}", "--reason", WHY, "--purge")
    assert not place.exists()
    nowhere(desk, id)
    gone(desk.get(wheel))
    assert "purged" in desk.command("takedowns")
    assert "its bytes are gone" in desk.command("restore", "release", f"cogen-plugin-{id}", code=1)
    assert desk.command("check").endswith("all whole\n")
    gone(desk.upload("team", id))


def test_weights_are_nowhere_and_bytes_that_another_repository_holds_stay(desk: Any, ids: Ids) -> None:
    hub, rival, data, own = desk.served.hub("team"), desk.served.hub("rival"), tensors(1, 500), tensors(2, 500)
    repo, theirs = hub.create(ids("a")), rival.create(ids("b"))
    for one, place in ((hub, repo), (rival, theirs)):
        one.upload(place, data)
        one.committed(place, lfs("model.safetensors", data))
    hub.upload(repo, own)
    head = hub.committed(repo, lfs("own.safetensors", own), file("config.json", "{}"))
    waiting = hub.place(repo, tensors(3, 100))
    desk.command("takedown", "repository", repo, "--reason", WHY)
    for path in (
        f"/{repo}/resolve/main/model.safetensors",
        f"/{repo}/resolve/{head}/config.json",
        f"/api/models/{repo}",
        f"/api/models/{repo}/tree/main",
        f"/api/models/{repo}/refs",
        f"/api/models/{repo}/commits/main",
    ):
        answer = desk.get(path)
        gone(answer)
        assert WHY in answer.headers["X-Error-Message"]
    gone(hub.commit(repo, file("more.json", "{}")))
    gone(hub.put(waiting, tensors(3, 100)))
    gone(hub.send("GET", f"/api/models/{repo}/xet-write-token/main"))
    gone(hub.send("POST", f"/{repo}.git/info/lfs/objects/batch", json={"operation": "upload", "objects": []}))
    gone(hub.send("POST", "/api/repos/create", json={"name": ids("a")}))
    desk.command("takedown", "repository", repo, "--reason", WHY, "--purge")
    blobs = desk.served.root / "blobs"
    assert not (blobs / sha256(own)[:2] / sha256(own)).exists()
    assert (blobs / sha256(data)[:2] / sha256(data)).exists()
    assert rival.fetch(theirs, "model.safetensors").content == data
    gone(desk.get(f"/{repo}/resolve/main/model.safetensors"))
    assert desk.command("check").endswith("all whole\n")


def test_what_is_held_can_be_purged_by_nobody(desk: Any, ids: Ids) -> None:
    id, team = ids("held"), ids("team")
    wheel = desk.published(team, id)
    blob = wheel.split("/")[2]
    desk.command("takedown", "release", f"cogen-plugin-{id}==1.0", "--reason", WHY, "--legal-hold")
    nowhere(desk, id, 451)
    for kind, name in (
        ("release", f"cogen-plugin-{id}==1.0"),
        ("release", f"cogen-plugin-{id}"),
        ("expert", id),
        ("publisher", team),
    ):
        output = desk.command("takedown", kind, name, "--reason", WHY, "--purge", code=1)
        assert "legal hold by" in output
        assert "release-hold" in output
    assert "legal hold" in desk.command("restore", "release", f"cogen-plugin-{id}==1.0", code=1)
    assert (desk.served.root / "blobs" / blob[:2] / blob).exists()
    desk.command("release-hold", "release", f"cogen-plugin-{id}==1.0", "--reason", "the case was closed")
    desk.command("takedown", "release", f"cogen-plugin-{id}==1.0", "--reason", WHY, "--purge")
    assert not (desk.served.root / "blobs" / blob[:2] / blob).exists()
    actions = [
        (one["action"], one["detail"].get("hold"))
        for one in json.loads(desk.command("log", "--json"))
        if one["subject"] == f"release cogen-plugin-{id}==1.0"
    ]
    assert actions == [("takedown.add", True), ("takedown.release-hold", None), ("takedown.add", None)]


def test_a_publisher_with_all_that_it_published(desk: Any, ids: Ids) -> None:
    team, id, other = ids("team"), ids("one"), ids("two")
    wheel = desk.published(team, id)
    desk.published(team, other)
    hub = desk.served.hub(team)
    repo = hub.create("model")
    hub.committed(repo, file("config.json", "{}"))
    desk.command("takedown", "release", f"cogen-plugin-{other}==1.0", "--reason", "it was alone before")
    desk.command("takedown", "publisher", team, "--reason", WHY)
    nowhere(desk, id)
    for path in (f"/api/v1/publishers/{team}", f"/publishers/{team}", f"/{repo}/resolve/main/config.json", wheel):
        gone(desk.get(path))
    for answer in (
        desk.upload(team, ids("three")),
        hub.commit(repo, file("a.json", "{}")),
        desk.ask("GET", "/api/v1/whoami", team),
    ):
        gone(answer, 403)
    desk.command("restore", "publisher", team)
    assert all(listed(desk, id).values())
    assert hub.fetch(repo, "config.json").text == "{}"
    nowhere(desk, other, why="it was alone before")


def test_what_a_publisher_had_published_before_a_transfer(desk: Any, ids: Ids) -> None:
    bad, good, id = ids("bad"), ids("good"), ids("moved")
    desk.published(bad, id, "1.0")
    desk.served.token(good)
    desk.command("project", "transfer", f"cogen-plugin-{id}", good)
    desk.published(good, id, "2.0")
    desk.command("takedown", "publisher", bad, "--reason", WHY)
    gone(desk.get(f"/api/v1/experts/{id}/1.0"))
    assert desk.get(f"/api/v1/experts/{id}").json()["version"] == "2.0"
    assert desk.upload(good, id, "3.0").status_code == 200


def test_an_export_has_none_of_it(desk: Any, ids: Ids, tmp_path: Any) -> None:
    id, team = ids("mirrored"), ids("team")
    wheel = desk.published(team, id)
    hub = desk.served.hub(team)
    hub.committed(hub.create("model"), file("config.json", "{}"))
    target = tmp_path / "mirror"
    desk.command("export", str(target))
    assert (target / wheel.strip("/")).exists()
    desk.command("takedown", "publisher", team, "--reason", WHY)
    desk.command("export", str(target))
    names = [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()]
    assert not [name for name in names if id in name or team in name or wheel.split("/")[2] in name]
    assert not [path for path in (target / "api/v1").rglob("*.json") if f'"{id}"' in path.read_text()]


def test_two_take_downs_and_one_restore(desk: Any, ids: Ids) -> None:
    id = ids("twice")
    desk.published("team", id)
    desk.command("takedown", "expert", f"{id}==1.0", "--reason", "the first reason")
    desk.command("takedown", "release", f"cogen-plugin-{id}", "--reason", WHY)
    desk.command("restore", "expert", f"{id}==1.0")
    nowhere(desk, id)
    desk.command("restore", "release", f"cogen-plugin-{id}")
    assert all(listed(desk, id).values())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_is_said_in_one_line(desk: Any, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("nothing-of-this-name", "nothing/here", "999999", "a==", "==1.0", "x==not a version", "%", "\0"):
        assert main(["takedown", kind, name, "--reason", WHY, "--root", str(desk.served.root)]) == 1
        output = capsys.readouterr().err
        assert [line.partition(":")[0] for line in output.splitlines()] == ["error", "hint"]


def test_a_take_down_needs_a_reason(desk: Any) -> None:
    assert "reason" in desk.command("takedown", "publisher", "team", "--reason", " ", code=1)
    assert "release, expert" in desk.command("takedown", "universe", "all", "--reason", WHY, code=1)
