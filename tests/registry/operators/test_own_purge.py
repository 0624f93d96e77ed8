"""A publisher removes what is his own for good: named twice, noted, and never against a legal hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.hub import file, sha256, tensors

from cogen_registry.audit import log

Ids = Callable[[str], str]
WHY = "it held names of patients"


def purged(desk: Any, id: str, publisher: str = "team", version: str = "1.0", **body: str) -> Any:
    body = {"reason": WHY, "confirm": f"cogen-plugin-{id}=={version}"} | body
    return desk.ask("POST", f"/api/v1/releases/cogen-plugin-{id}/{version}/purge", publisher, json=body)


def test_its_bytes_are_gone_with_the_answer(desk: Any, ids: Ids) -> None:
    """File, metadata and manifest; the name and the version stay taken, and who asks is told why."""
    id = ids("ward")
    wheel = desk.published("team", id)
    later = desk.published("team", id, "1.1")
    blob = wheel.split("/")[2]
    place = desk.served.root / "blobs" / blob[:2] / blob
    assert place.exists()
    answer = purged(desk, id)
    assert (answer.status_code, answer.json()) == (200, {"purged": f"cogen-plugin-{id}==1.0", "hidden": 1})
    assert not place.exists()
    for path in (wheel, wheel + ".metadata", f"/api/v1/experts/{id}/1.0", f"/api/v1/releases/cogen-plugin-{id}/1.0"):
        assert (desk.get(path).status_code, WHY in desk.get(path).text) == (410, True)
    assert desk.get(f"/api/v1/experts/{id}").json()["version"] == "1.1"
    assert desk.get(later).status_code == 200
    assert desk.upload("team", id, "1.0").status_code == 410
    assert purged(desk, id).status_code == 409
    assert "its bytes are gone" in desk.command("restore", "release", f"cogen-plugin-{id}==1.0", code=1)
    assert desk.command("check").endswith("all whole\n")


def test_the_audit_log_says_who(desk: Any, ids: Ids) -> None:
    id = ids("noted")
    desk.published("team", id)
    assert purged(desk, id).status_code == 200
    subject = f"release cogen-plugin-{id}==1.0"
    (entry,) = json.loads(desk.command("log", "--subject", subject, "--json"))
    assert (entry["publisher"], entry["action"], entry["detail"]["purge"]) == ("team", "takedown.add", True)
    assert entry["detail"]["reason"] == WHY
    assert entry["token"] is not None
    (row,) = [one for one in json.loads(desk.command("takedowns", "--json")) if id in one["name"]]
    assert (row["by"], row["reason"], row["state"].split()[0]) == ("team", WHY, "purged")


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"confirm": "yes"}, 400, "confirmed by the name of what goes"),
        ({"confirm": "cogen-plugin-other==1.0"}, 400, "confirmed by the name of what goes"),
        ({"reason": " "}, 400, "a takedown needs a public reason"),
        ({"more": "1"}, 422, "more"),
    ],
)
def test_what_is_not_confirmed(desk: Any, ids: Ids, changes: dict[str, str], status: int, message: str) -> None:
    id = ids("kept")
    wheel = desk.published("team", id)
    answer = purged(desk, id, **changes)
    assert (answer.status_code, message in answer.text) == (status, True), answer.text
    assert answer.json()["hint"]
    assert desk.get(wheel).status_code == 200


def test_only_its_owner(desk: Any, ids: Ids) -> None:
    """Not another publisher, not a token that is for one project alone, such as a build machine's; nor without one."""
    id = ids("owned")
    wheel = desk.published("team", id)
    assert purged(desk, id, "rival").status_code == 403
    assert purged(desk, id + "-x", "rival").status_code == 404
    assert purged(desk, id, None).status_code == 401  # type: ignore[arg-type]
    narrow = desk.command("token", "new", "team", "--scope", f"packages:cogen-plugin-{id}").strip().splitlines()[0]
    body = {"reason": WHY, "confirm": f"cogen-plugin-{id}==1.0"}
    path = f"/api/v1/releases/cogen-plugin-{id}/1.0/purge"
    answer = desk.ask("POST", path, json=body, headers={"Authorization": f"Bearer {narrow.split()[-1]}"})
    assert (answer.status_code, "no scope 'packages'" in answer.text) == (403, True), answer.text
    assert desk.get(wheel).status_code == 200


def test_a_legal_hold_wins(desk: Any, ids: Ids) -> None:
    """Whatever its publisher says, until somebody who may lets it go."""
    id = ids("held")
    wheel = desk.published("team", id)
    blob = wheel.split("/")[2]
    subject = ("release", f"cogen-plugin-{id}==1.0")
    desk.command("takedown", *subject, "--reason", "evidence of a case", "--legal-hold")
    answer = purged(desk, id)
    assert (answer.status_code, "under a legal hold" in answer.text) == (409, True), answer.text
    assert "hold by" not in answer.text  # accounts and commands of the operator's machine are nobody else's business
    assert answer.json()["hint"] == "ask the registry's operator"
    refused = desk.command("takedown", *subject, "--reason", WHY, "--purge", code=1)
    assert f"hold by {log.operator().operator}" in refused
    assert (desk.served.root / "blobs" / blob[:2] / blob).exists()
    desk.command("release-hold", *subject, "--reason", "the case was closed")
    assert purged(desk, id).status_code == 200
    assert not (desk.served.root / "blobs" / blob[:2] / blob).exists()


def test_what_an_operator_hid_may_be_purged(desk: Any, ids: Ids) -> None:
    """The operator's reason stays the one that everybody is told."""
    id = ids("hidden")
    desk.published("team", id)
    desk.command("takedown", "release", f"cogen-plugin-{id}==1.0", "--reason", "reported by a reader")
    assert purged(desk, id).status_code == 200
    assert "reported by a reader" in desk.get(f"/api/v1/experts/{id}/1.0").text


def test_a_repository_of_weights(desk: Any, ids: Ids) -> None:
    """All of its commits; bytes that another repository holds stay."""
    hub, other, data = desk.served.hub("team"), desk.served.hub("rival"), tensors(1, 500)
    repo, theirs = hub.create(ids("a")), other.create(ids("b"))
    for one, name in ((hub, repo), (other, theirs)):
        one.committed(name, file("model.safetensors", data))
    hub.committed(repo, file("README.md", "about patients"))
    path = f"/api/v1/repositories/{repo}/purge"
    body = {"reason": WHY, "confirm": repo}
    assert desk.ask("POST", path, "rival", json=body).status_code == 403
    assert desk.ask("POST", path, "team", json=body | {"confirm": theirs}).status_code == 400
    answer = desk.ask("POST", path, "team", json=body)
    assert (answer.status_code, answer.json()) == (200, {"purged": repo, "hidden": 1})
    assert hub.fetch(repo, "README.md").status_code == 410
    assert other.fetch(theirs, "model.safetensors").content == data
    place = desk.served.root / "blobs"
    assert not (place / sha256(b"about patients")[:2] / sha256(b"about patients")).exists()
