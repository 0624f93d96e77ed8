"""``/api/v1/experts``: cards, everything about one, versions, the static index, OpenAPI."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from support.shelf import put, token

from cogen.spec.expert import ExpertSpec
from cogen_registry.database.tables import Expert, Key, Release, now
from cogen_registry.service import Service

_CARD = {
    "id",
    "version",
    "project",
    "title",
    "summary",
    "publisher",
    "domains",
    "languages",
    "license",
    "licence",  # its former name, for clients of before
    "base",
    "architecture",
    "parameters",
    "relation",
    "size",
    "released",
    "signed",
    "key",
    "yanked",
    "code",
    "score",
}


def found(client: TestClient, **query: Any) -> list[str]:
    answer = client.get("/api/v1/experts", params=query)
    assert answer.status_code == 200, answer.text
    return [card["id"] for card in answer.json()["items"]]


def test_a_card(client: TestClient, service: Service) -> None:
    put(service, "power", "1.2", parameters=7_000_000_000, domains=["Energy", "grids"], languages=["en", "de-CH"])
    answer = client.get("/api/v1/experts").json()
    assert (answer["total"], answer["meaning"]) == (1, False)
    card = answer["items"][0]
    assert set(card) == _CARD
    released = card.pop("released")
    assert released.endswith("Z")
    assert card == {
        "id": "power",
        "version": "1.2",
        "project": "cogen-plugin-power",
        "title": "The power expert",
        "summary": "An expert for tests",
        "publisher": "team",
        "domains": ["energy", "grids"],
        "languages": ["de-ch", "en"],
        "license": "Apache-2.0",
        "licence": "Apache-2.0",
        "base": {"name": "A base", "digest": "sha256:" + "0" * 64},
        "architecture": "LlamaForCausalLM",
        "parameters": 7_000_000_000,
        "relation": "ffn",
        "size": 1234,
        "signed": False,
        "key": None,
        "yanked": False,
        "code": False,
        "score": None,
    }


def test_search_and_filters_over_http(client: TestClient, service: Service) -> None:
    put(service, "clinic", title="Tumour staging", domains=["medicine"])
    put(service, "grids", title="Power grids", domains=["energy"], parameters=2_000_000_000)
    assert found(client) == ["grids", "clinic"]
    assert found(client, q="tumour") == ["clinic"]
    assert found(client, domain="energy") == ["grids"]
    assert found(client, size=">1B") == ["grids"]
    assert found(client, license="MIT") == found(client, licence="MIT") == []
    assert found(client, licence="apache-2.0") == ["grids", "clinic"]  # the former name of license
    assert found(client, size="<1B", q="grids") == []
    assert found(client, sort="name", limit=1, offset=1) == ["grids"]
    assert client.get("/api/v1/experts?q=tumour").json()["items"][0]["score"] == pytest.approx(1 / 61)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "size=huge", "sort=best", "q=" + "x" * 1001]
)
def test_a_wrong_query_is_one_line_and_a_hint(client: TestClient, query: str) -> None:
    answer = client.get("/api/v1/experts?" + query)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error", "hint"}
    assert "\n" not in answer.json()["error"]


def test_everything_about_an_expert(client: TestClient, service: Service) -> None:
    put(service, "power", "1.0")
    put(service, "power", "1.10.0", title="Newer")
    put(service, "power", "2.0", state="quarantined")
    detail = client.get("/api/v1/experts/power").json()
    assert (detail["version"], detail["title"]) == ("1.10.0", "Newer")
    assert detail["spec_digest"] == ExpertSpec.model_validate(detail["spec"]).digest
    assert [one["version"] for one in detail["versions"]] == ["1.10.0", "1.0"]
    assert detail["signature"] is None
    name = detail["file"]["filename"]
    assert detail["file"]["url"] == f"https://r.example/files/{detail['file']['sha256']}/{name}"
    for spelling in ("1", "1.0", "1.0.0", "v1.0"):
        assert client.get(f"/api/v1/experts/power/{spelling}").json()["version"] == "1.0"
    for path in ("nobody", "power/3.0", "power/2.0", "power/nonsense"):
        answer = client.get(f"/api/v1/experts/{path}")
        assert answer.status_code == 404
        assert "there is no" in answer.json()["error"]


def test_an_expert_that_was_yanked_is_still_told_of(client: TestClient, service: Service) -> None:
    put(service, "power", "1.0", yanked="wrong license")
    assert found(client) == []
    detail = client.get("/api/v1/experts/power").json()
    assert detail["yanked"] is True
    assert detail["versions"][0]["yanked"] == "wrong license"


def test_a_quarantined_expert_is_not_there(client: TestClient, service: Service) -> None:
    put(service, "secret", state="quarantined")
    assert found(client, q="secret") == []
    assert client.get("/api/v1/experts/secret").status_code == 404
    assert client.get("/api/v1/experts/secret/1.0/evaluations").status_code == 404


def test_a_signature_names_its_key_and_says_if_it_was_revoked(client: TestClient, service: Service) -> None:
    row = put(service, "power")
    with service.sessions.write() as session:
        release = session.get_one(Release, session.get_one(Expert, row).release_id)
        release.statement, release.bundle, release.key = {"schema": 1}, {"mediaType": "x"}, "sha256:ab"
        session.add(Key(publisher_id=1, fingerprint="sha256:ab", pem="x"))
    detail = client.get("/api/v1/experts/power").json()
    assert (detail["signed"], detail["key"]) == (True, "sha256:ab")
    wanted = {"key": "sha256:ab", "statement": {"schema": 1}, "bundle": {"mediaType": "x"}, "revoked": None}
    assert detail["signature"] == wanted
    with service.sessions.write() as session:
        session.execute(update(Key).values(revoked=now()))
    assert client.get("/api/v1/experts/power").json()["signature"]["revoked"] is not None


def test_cards_are_as_new_as_the_last_change(client: TestClient, service: Service) -> None:
    """Kept in memory until something changes; scores are of the query, not of the card."""
    row = put(service, "power", title="Power grids")
    assert client.get("/api/v1/experts").json()["items"][0]["signed"] is False
    with service.sessions.write() as session:
        release = session.get_one(Release, session.get_one(Expert, row).release_id)
        release.statement, release.bundle, release.key = {"schema": 1}, {"mediaType": "x"}, "sha256:ab"
    service.changed()
    assert client.get("/api/v1/experts").json()["items"][0]["signed"] is True
    assert client.get("/api/v1/experts?q=grids").json()["items"][0]["score"] == pytest.approx(1 / 61)
    assert client.get("/api/v1/experts").json()["items"][0]["score"] is None


def listed_cards(client: TestClient) -> list[dict[str, Any]]:
    """Of the static index, each shard compared with what `index.json` says of it; sorted by id."""
    cards = []
    for shard in client.get("/api/v1/index.json").json()["shards"]:
        answer = client.get(f"/api/v1/index/{shard['name']}.{shard['sha256']}.json")
        assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (shard["size"], shard["sha256"])
        assert "immutable" in answer.headers["cache-control"]
        held = answer.json()["experts"]
        assert len(held) == shard["experts"]
        cards += held
    return sorted(cards, key=lambda card: str(card["id"]))


def test_the_static_index_is_every_current_card(client: TestClient, service: Service) -> None:
    """Sorted by id, equal to the pages of the API, and named by its digest until something changes."""
    empty = client.get("/api/v1/index.json")
    assert empty.json() == {"schema": 2, "title": "CoGen registry", "total": 0, "shards": []}
    for id in ("power", "clinic", "alloys"):
        put(service, id)
    put(service, "power", "2.0")
    answer = client.get("/api/v1/index.json")
    cards = listed_cards(client)
    assert [(card["id"], card["version"]) for card in cards] == [("alloys", "1.0"), ("clinic", "1.0"), ("power", "2.0")]
    pages = client.get("/api/v1/experts?sort=name").json()["items"]
    assert cards == [{key: value for key, value in card.items() if key != "score"} for card in pages]
    etag = answer.headers["etag"]
    assert etag != empty.headers["etag"]
    assert client.get("/api/v1/index.json", headers={"If-None-Match": etag}).status_code == 304
    put(service, "zoo")
    assert client.get("/api/v1/index.json", headers={"If-None-Match": etag}).status_code == 200


def test_who_am_i(client: TestClient, service: Service) -> None:
    headers = token(service, "hospital", ["evaluations"])
    assert client.get("/api/v1/whoami", headers=headers).json() == {
        "name": "hospital",
        "title": "Hospital",
        "scopes": ["evaluations"],
    }
    assert client.get("/api/v1/whoami").status_code == 401
    assert client.get("/api/v1/whoami", headers={"Authorization": "Bearer cogen_wrong"}).status_code == 401


def test_a_publisher_and_its_experts(client: TestClient, service: Service) -> None:
    put(service, "power", team="utility")
    put(service, "clinic", team="hospital")
    answer = client.get("/api/v1/publishers/utility").json()
    assert (answer["name"], answer["total"], [card["id"] for card in answer["experts"]]) == ("utility", 1, ["power"])
    assert client.get("/api/v1/publishers/nobody").status_code == 404


def test_operations_have_ids_of_their_own(client: TestClient) -> None:
    """OpenAPI 3.1: "The id MUST be unique among all operations described in the API"."""
    paths = client.get("/openapi.json").json()["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(ids) == len(set(ids)) > 20
    assert {"/simple/", "/simple/{project}/", "/files/{sha256}/{name}", "/legacy/"} <= set(paths)


def test_openapi_describes_every_path_and_answer(client: TestClient) -> None:
    """Each path of this room has a sentence, and each JSON answer a model."""
    document = client.get("/openapi.json").json()
    ours = {
        path: methods
        for path, methods in document["paths"].items()
        if "experts" in json.dumps(methods.get("get", methods.get("post", {})).get("tags", []))
    }
    assert {"/api/v1/experts", "/api/v1/experts/{id}", "/api/v1/keys", "/api/v1/composites"} <= set(ours)
    for methods in ours.values():
        for operation in methods.values():
            assert operation["description"]
            code = "201" if "201" in operation["responses"] else "200"
            content = operation["responses"][code].get("content", {})
            if "application/json" in content and content["application/json"]["schema"]:
                assert "$ref" in content["application/json"]["schema"]
