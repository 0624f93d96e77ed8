"""Composites: a lock is checked, versions count up, experts are linked to ours."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from support.manifests import manifest
from support.shelf import put, token

from cogen.spec.expert import ExpertSpec, canonical_digest
from cogen_registry.audit import log
from cogen_registry.database.tables import Expert, Key, Publisher
from cogen_registry.service import Service

ZERO = "sha256:" + "0" * 64
#: As the manifests of the tests say.
PARAMETERS = manifest("power")["model"]["parameters"]


def lock_of(*ids: str, **changes: Any) -> dict[str, Any]:
    """A lock as `cogen fuse` writes it, over experts of the tests' manifests."""
    specs = [ExpertSpec.model_validate(manifest(id)) for id in ids]
    experts = [
        {
            "id": spec.id,
            "title": spec.title,
            "distribution": f"cogen-plugin-{spec.id}",
            "version": "1.0",
            "publisher": spec.publisher,
            "license": spec.license,
            "derivatives": spec.derivatives,
            "relation": spec.model.relation,
            "spec_digest": spec.digest,
            "file_digest": spec.model.file_digest,
            "weights_digest": spec.model.weights_digest,
            "data_digest": ZERO,
            "weight": 1.0,
        }
        for spec in specs
    ]
    plan = {
        "cogen": "0.1.0",
        "strategy": "merge",
        "method": "ties",
        "why": "one base",
        "base": manifest("power")["model"]["base"],
        "tokenizer_digest": ZERO,
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "experts": experts,
        "parameters": {},
        "scales": [1.0],
        "level": "full",
        "eval_dtype": "float32",
        "suites": [],
        "license": "Apache-2.0",
        "tensors": 1,
        "changed_tensors": 1,
        "cost": {"search_tokens": 0, "matrix_tokens": 0, "output_bytes": 1, "scratch_bytes": 1, "memory_bytes": 1},
    } | changes
    return {
        "version": 1,
        "created": "2026-01-01T00:00:00Z",
        "cogen": "0.1.0",
        "plan": plan,
        "plan_digest": canonical_digest(plan),
        "scale": 1.0,
        "trials": [],
        "seed": None,
        "software": {},
        "platform": "Linux x86_64",
        "threads": 1,
        "files": {"model.safetensors": ZERO},
        "weights_digest": ZERO,
        "matrix": None,
    }


def body(**changes: Any) -> dict[str, Any]:
    return {"name": "both", "title": "Both of them", "lock": lock_of("power", "clinic"), "card": "# Both\n"} | changes


def test_a_composite_is_shown_with_its_experts(client: TestClient, service: Service) -> None:
    """Those that are here in the very same version are linked, from both sides."""
    put(service, "power", parameters=PARAMETERS)
    put(service, "clinic", title="Another manifest")
    answer = client.post("/api/v1/composites", json=body(), headers=token(service, "team"))
    assert answer.status_code == 201, answer.text
    shown = client.get("/api/v1/composites/team/both").json()
    assert shown == answer.json()
    assert (shown["version"], shown["versions"], shown["strategy"], shown["method"]) == (1, [1], "merge", "ties")
    assert {part["id"]: part["here"] for part in shown["experts"]} == {"power": True, "clinic": False}
    assert (shown["lock"], shown["card"]) == (body()["lock"], "# Both\n")
    uses = client.get("/api/v1/experts/power").json()["composites"]
    assert uses == [{"publisher": "team", "name": "both", "version": 1, "title": "Both of them", "exact": True}]
    assert client.get("/api/v1/experts/clinic").json()["composites"][0]["exact"] is False


def test_versions_count_up_and_stay(client: TestClient, service: Service) -> None:
    headers = token(service, "team")
    codes = [client.post("/api/v1/composites", json=body(card=card), headers=headers).status_code for card in "aab"]
    assert codes == [201, 200, 201]
    assert client.get("/api/v1/composites/team/both").json()["versions"] == [2, 1]
    assert [client.get(f"/api/v1/composites/team/both/{i}").json()["card"] for i in (1, 2)] == ["a", "b"]
    for path in ("team/both/3", "team/other", "other/both", "team/both/0"):
        assert client.get(f"/api/v1/composites/{path}").status_code in (404, 422)


def test_lists(client: TestClient, service: Service) -> None:
    """The newest version of each, by publisher and by expert."""
    for publisher, name, ids in (("team", "one", ["power"]), ("team", "one", ["clinic"]), ("other", "two", ["power"])):
        new = body(name=name, lock=lock_of(*ids))
        assert client.post("/api/v1/composites", json=new, headers=token(service, publisher)).status_code == 201

    def listed(query: str) -> list[tuple[str, int]]:
        answer = client.get("/api/v1/composites?" + query).json()
        return [(item["name"], item["version"]) for item in answer["items"]]

    assert listed("") == [("two", 1), ("one", 2)]
    assert listed("publisher=team") == [("one", 2)]
    assert listed("expert=power") == [("two", 1)]
    assert listed("expert=nobody") == []
    assert listed("limit=1&offset=1") == [("one", 2)]
    assert client.get("/api/v1/composites?limit=1").json()["total"] == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lock": {}}, "no field `version`"),
        ({"lock": {"version": 4}}, "version 4"),
        ({"lock": lock_of("power") | {"plan_digest": ZERO}}, "not the one that was locked"),
        ({"lock": lock_of("power") | {"files": {"../x": ZERO}}}, "not a lock"),
        ({"lock": lock_of("power", "power")}, "twice"),
        ({"lock": lock_of()}, "no expert"),
        ({"name": "Both"}, "name"),
        ({"name": "a--b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"title": "two\nlines"}, "title"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_composite_is_refused(
    client: TestClient, service: Service, changes: dict[str, Any], says: str
) -> None:
    answer = client.post("/api/v1/composites", json=body(**changes), headers=token(service))
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["error"]
    assert client.get("/api/v1/composites").json()["total"] == 0


def test_it_needs_a_token_with_the_scope(client: TestClient, service: Service) -> None:
    assert client.post("/api/v1/composites", json=body()).status_code == 401
    assert client.post("/api/v1/composites", json=body(), headers=token(service, scopes=["keys"])).status_code == 403


def test_deleted_versions_are_gone_and_their_numbers_taken(client: TestClient, service: Service) -> None:
    put(service, "power")
    mine = token(service, "team")
    for card in "abc":
        client.post("/api/v1/composites", json=body(card=card), headers=mine)
    path = "/api/v1/composites/team/both"
    assert client.delete(f"{path}/2").status_code == 401
    assert client.delete(f"{path}/2", headers=token(service, "rival")).status_code == 403
    assert (
        client.delete(f"{path}/2", headers=token(service, "team", ["packages", "weights", "keys"])).status_code == 403
    )
    assert client.delete(f"{path}/9", headers=mine).status_code == 404
    assert client.delete("/api/v1/composites/team/other", headers=mine).status_code == 404
    answer = client.delete(f"{path}/2", headers=mine)
    assert (answer.status_code, answer.json()) == (200, {"deleted": [2]})
    assert client.get(path).json()["versions"] == [3, 1]
    for place in (f"{path}/2", "/composites/team/both/2", "/composites/team/both/2/cogen.lock"):
        assert client.get(place).status_code == 410
        assert "deleted by its publisher" in client.get(place).text
    assert client.delete(f"{path}/2", headers=mine).status_code == 410
    assert client.delete(path, headers=mine).json() == {"deleted": [1, 3]}
    assert client.get(path).status_code == 410
    assert client.get("/api/v1/composites").json()["total"] == 0
    assert client.get("/api/v1/experts/power").json()["composites"] == []
    again = client.post("/api/v1/composites", json=body(card="d"), headers=mine)
    assert (again.status_code, again.json()["version"]) == (201, 4)
    with service.sessions.read() as session:
        done = [(one.action, one.subject, one.publisher) for one in log.entries(session)]
    assert done[-3:] == [("composite.delete", "team/both", "team")] * 2 + [("composite.add", "team/both 4", "team")]


PEM = "-----BEGIN PUBLIC KEY-----"


def signed(service: Service, row: int, key: str = "sha256:1") -> str:
    """Make a release signed by a key of its publisher; the SHA-256 of its wheel."""
    with service.sessions.write() as session:
        release = session.get_one(Expert, row).release
        release.key, release.statement, release.bundle = key, {}, {}
        session.add(Key(publisher_id=release.project.publisher_id, fingerprint=key, pem=PEM))
        return str(release.sha256)


def claims(wheel: str, **changes: Any) -> dict[str, Any]:
    """What a lock says of where power came from; all of it true unless changed."""
    return {
        "distribution": "cogen-plugin-power",
        "version": "1.0",
        "publisher": "team",
        "key": "sha256:1",
        "sha256": wheel,
        "registry": "https://r.example",
    } | changes


def posted(client: TestClient, service: Service, source: dict[str, Any] | None, **planned: Any) -> dict[str, Any]:
    lock = lock_of("power")
    lock["plan"]["experts"][0] |= planned
    lock["plan_digest"] = canonical_digest(lock["plan"])
    lock["sources"] = {} if source is None else {"power": source}
    answer = client.post("/api/v1/composites", json=body(lock=lock), headers=token(service, "somebody"))
    assert answer.status_code in (200, 201), answer.text
    (part,) = answer.json()["experts"]
    page = client.get(f"/composites/somebody/both/{answer.json()['version']}").text
    assert (">checked<" in page, ">claimed<" in page) == (part["checked"], not part["checked"])
    return dict(part)


def test_checked_is_what_equals_a_signed_release_here(client: TestClient, service: Service) -> None:
    sha256 = signed(service, put(service, "power", parameters=PARAMETERS))
    part = posted(client, service, claims(sha256))
    assert (part["here"], part["checked"]) == (True, True)
    client.post("/api/v1/keys/sha256:1/revoke", headers=token(service, "team"))
    assert posted(client, service, claims(sha256))["checked"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "sha256:2"},
        {"key": None},
        {"publisher": "hospital"},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"version": "1.1"},
        {"distribution": "cogen-plugin-other"},
    ],
)
def test_anything_else_is_claimed(client: TestClient, service: Service, changes: dict[str, Any]) -> None:
    sha256 = signed(service, put(service, "power", parameters=PARAMETERS))
    part = posted(client, service, claims(sha256, **changes))
    assert (part["here"], part["checked"]) == (True, False)


@pytest.mark.parametrize(
    ("planned", "here"),
    [
        ({"weights_digest": "sha256:" + "1" * 64}, True),
        ({"spec_digest": ZERO}, False),
        ({"version": "1.1"}, False),
        ({"distribution": "cogen-plugin-other"}, True),
    ],
)
def test_a_plan_that_says_otherwise(client: TestClient, service: Service, planned: dict[str, Any], here: bool) -> None:
    sha256 = signed(service, put(service, "power", parameters=PARAMETERS))
    part = posted(client, service, claims(sha256), **planned)
    assert (part["here"], part["checked"]) == (here, False)


def test_neither_an_unsigned_release_nor_a_key_of_another_is_checked(client: TestClient, service: Service) -> None:
    row = put(service, "power", parameters=PARAMETERS)
    assert posted(client, service, claims("0" * 64))["checked"] is False
    assert posted(client, service, None)["checked"] is False
    sha256 = signed(service, row)
    token(service, "hospital")
    with service.sessions.write() as session:
        other = session.scalars(select(Publisher.id).where(Publisher.name == "hospital")).one()
        session.execute(update(Key).values(publisher_id=other))
    assert posted(client, service, claims(sha256))["checked"] is False
