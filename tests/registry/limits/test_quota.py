"""A publisher's limit counts everything that it stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text
from support import wheels
from support.hub import Hub, Registry, file, lfs, running, tensors

from cogen_registry.admission.quota import rows, usage
from cogen_registry.database.tables import Publisher


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with running(tmp_path_factory.mktemp("quota") / "root") as opened:
        yield opened


def used(registry: Registry, name: str) -> tuple[dict[str, int], int]:
    with registry.service.sessions.read() as session:
        publisher = session.scalars(select(Publisher.id).where(Publisher.name == name)).one()
        return usage(session, publisher), rows(session, publisher)


def test_each_kind_is_counted(registry: Registry, tmp_path: Path) -> None:
    """Wheels with METADATA, those in quarantine; small files, uploads that no commit names; trees, again and again."""
    hub = registry.hub("counted")
    before, lines = used(registry, "counted")
    assert sum(before.values()) == 0
    repo, data = hub.create("model"), tensors(1, 1000)
    hub.upload(repo, data)
    pending, after = used(registry, "counted")
    assert pending["weights"] == len(data)
    assert after > lines
    hub.committed(repo, file("a.json", "{}"), lfs("model.safetensors", data))
    first, _ = used(registry, "counted")
    assert first["weights"] == len(data) + 2
    assert first["commits"] > 2 * 160
    hub.committed(repo, file("b.json", "{}"))
    second, more = used(registry, "counted")
    assert second["weights"] == first["weights"]
    assert second["commits"] - first["commits"] > 3 * 160
    path = wheels.build(tmp_path, "counted-e")
    assert post(registry, hub, path, "counted-e").status_code == 200
    third, _ = used(registry, "counted")
    assert third["wheels"] > path.stat().st_size + 100
    with registry.service.sessions.write() as session:
        session.execute(text("UPDATE releases SET state = 'quarantined' WHERE filename = :name"), {"name": path.name})
    assert used(registry, "counted")[0] == third
    assert more > after


def post(registry: Registry, hub: Hub, path: Path, id: str):  # type: ignore[no-untyped-def]
    import requests

    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel",
        "name": f"cogen-plugin-{id}",
        "version": "1.0",
    }
    content = {"content": (path.name, path.read_bytes())}
    return requests.post(f"{registry.url}/legacy/", data=fields, files=content, headers=hub.headers, timeout=60)


def limit(registry: Registry, name: str, **limits: int) -> None:
    with registry.service.sessions.write() as session:
        session.scalars(select(Publisher).where(Publisher.name == name)).one().limits = limits


def test_trees_of_commits_end(registry: Registry) -> None:
    """Commits without a new byte cost lines: a loop of them ends at the limit, and what was there stays."""
    hub = registry.hub("loop")
    repo = hub.create("model")
    limit(registry, "loop", rows=60)
    hub.committed(repo, *[file(f"{n}.txt", "x") for n in range(10)])
    answers = [hub.commit(repo, file("a.txt", str(n))) for n in range(20)]
    refused = [one for one in answers if one.status_code == 413]
    assert refused
    assert "limit" in refused[0].json()["error"]
    assert refused[0].json()["hint"]
    assert used(registry, "loop")[1] <= 60
    tree = hub.send("GET", f"/api/models/{repo}/tree/main").json()
    assert len(tree) == 11


def test_projects_repositories_and_tags_end(registry: Registry, tmp_path: Path) -> None:
    hub = registry.hub("many")
    limit(registry, "many", projects=3, rows=40)
    made = [hub.send("POST", "/api/repos/create", json={"name": f"r{n}"}).status_code for n in range(5)]
    assert made == [200, 200, 200, 413, 413]
    answers = [post(registry, hub, wheels.build(tmp_path, f"p{n}"), f"p{n}") for n in range(2)]
    assert [one.status_code for one in answers] == [413, 413]
    tags = [hub.send("POST", "/api/models/many/r0/tag/main", json={"tag": f"t{n}"}).status_code for n in range(60)]
    assert set(tags) == {200, 413}
    assert tags == sorted(tags)


def test_the_bytes_of_trees_and_of_evidence_are_bytes(registry: Registry) -> None:
    hub = registry.hub("thin")
    repo = hub.create("model")
    limit(registry, "thin", publisher=20_000)
    answers = [hub.commit(repo, file(f"{'d' * 200}/{n}.txt", "x")).status_code for n in range(40)]
    assert answers == sorted(answers)
    assert set(answers) == {200, 413}
    assert sum(used(registry, "thin")[0].values()) <= 20_000
