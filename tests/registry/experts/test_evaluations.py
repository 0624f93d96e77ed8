"""Measurements by others: checked against the manifest and their own evidence, kept apart from claims."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.manifests import manifest
from support.shelf import put, token

from cogen_registry.experts import evaluations
from cogen_registry.service import Service

FIGURES = [[100.0 + i, 40.0 + 2 * i] for i in range(30)]
VALUE = math.fsum(top for top, _ in FIGURES) / math.fsum(bottom for _, bottom in FIGURES)
PATH = "/api/v1/experts/power/1.0/evaluations"


def body(**changes: Any) -> dict[str, Any]:
    """A measurement that is right."""
    return {
        "suite": "heldout",
        "metric": "bits_per_byte",
        "split": "test",
        "value": VALUE,
        "low": VALUE - 0.1,
        "high": VALUE + 0.1,
        "documents": 30,
        "harness": "lm_eval 0.4.9, float32",
        "evidence": {"per_document": FIGURES, "context": {"key": "sha256:1"}},
    } | changes


@pytest.fixture
def claimed(service: Service) -> None:
    suites = manifest("power")["suites"]
    suites[0]["claim"] = {"value": 1.5, "documents": 30, "date": "2026-01-02", "harness": "ours"}
    suites.append(suites[0] | {"id": "quiz", "metric": "acc", "claim": None})
    suites = [{key: value for key, value in suite.items() if value is not None} for suite in suites]
    put(service, "power", suites=suites)


@pytest.mark.usefixtures("claimed")
def test_claims_and_measurements_are_kept_apart(client: TestClient, service: Service) -> None:
    """Who measured is shown; a publisher's own measurement is called so."""
    for publisher in ("hospital", "team"):
        answer = client.post(PATH, json=body(), headers=token(service, publisher))
        assert answer.status_code == 201, answer.text
    reported = client.get(PATH).json()
    assert reported["claims"] == [
        {
            "suite": "heldout",
            "title": "Held-out text",
            "metric": "bits_per_byte",
            "split": "test",
            "part": "test",
            "value": 1.5,
            "documents": 30,
            "date": "2026-01-02",
            "harness": "ours",
        }
    ]
    assert [(one["by"], one["own"], one["value"]) for one in reported["measured"]] == [
        ("team", True, VALUE),
        ("hospital", False, VALUE),
    ]
    assert reported["measured"][0]["promised"] == 30
    assert client.get("/api/v1/experts/power").json()["evaluations"] == reported


@pytest.mark.usefixtures("claimed")
def test_evidence_can_be_read_and_gives_the_value(client: TestClient, service: Service) -> None:
    measured = client.post(PATH, json=body(), headers=token(service)).json()
    answer = client.get(f"/api/v1/evaluations/{measured['id']}/evidence")
    assert hashlib.sha256(answer.content).hexdigest() == measured["evidence"]
    reported = json.loads(answer.content)
    assert reported["per_document"] == FIGURES
    assert (reported["expert"], reported["suite"], reported["part"]) == ("power", "heldout", "test")
    assert reported["spec_digest"] == client.get("/api/v1/experts/power").json()["spec_digest"]
    assert client.get("/api/v1/evaluations/999/evidence").status_code == 404
    service.recover()  # evidence is referred to: it stays
    assert service.blobs.size(measured["evidence"]) == len(answer.content)


@pytest.mark.usefixtures("claimed")
def test_the_former_name_of_split(client: TestClient, service: Service) -> None:
    """Clients of before send and read ``part``; it is the same measurement with the same evidence."""
    headers, new = token(service), body()
    former = {"part" if name == "split" else name: value for name, value in new.items()}
    first, second = (client.post(PATH, json=sent, headers=headers) for sent in (former, new))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert (first.json()["split"], first.json()["part"]) == ("test", "test")


@pytest.mark.usefixtures("claimed")
def test_the_same_again_is_the_same(client: TestClient, service: Service) -> None:
    headers = token(service)
    first = client.post(PATH, json=body(), headers=headers)
    second = client.post(PATH, json=body(), headers=headers)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert len(client.get(PATH).json()["measured"]) == 1


@pytest.mark.usefixtures("claimed")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"suite": "other"}, "no suite"),
        ({"metric": "acc"}, "not measured in"),
        ({"split": "train"}, "split"),
        ({"value": VALUE * 1.001}, "the evidence gives"),
        ({"value": "nan"}, "value"),
        ({"documents": 29}, "evidence of 30"),
        ({"documents": 31, "evidence": {"per_document": [*FIGURES, [1, 1]]}}, "31 documents"),
        ({"split": "dev"}, "dev split has 10"),
        ({"low": None}, "in order"),
        ({"low": VALUE + 0.01}, "in order"),
        ({"evidence": {"per_document": [[-1.0, 1.0]]}, "documents": 1, "value": -1.0}, "can't have"),
        ({"evidence": {"per_document": [[1.0, 0.0]]}, "documents": 1}, "greater than 0"),
        ({"evidence": {"per_document": []}, "documents": 1}, "at least 1"),
        ({"evidence": {}}, "per_document"),
        ({"harness": ""}, "harness"),
        ({"own": True}, "own"),
        (
            {
                "suite": "quiz",
                "metric": "acc",
                "value": 2.0,
                "low": None,
                "high": None,
                "documents": 1,
                "evidence": {"per_document": [[2.0, 1.0]]},
            },
            "can't have",
        ),
    ],
)
def test_what_is_no_measurement_is_refused(
    client: TestClient, service: Service, changes: dict[str, Any], says: str
) -> None:
    answer = client.post(PATH, json=body(**changes), headers=token(service))
    assert answer.status_code == 422
    assert says in answer.json()["error"]
    assert client.get(PATH).json()["measured"] == []
    assert list(service.blobs.names()) == []


@pytest.mark.usefixtures("claimed")
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(client: TestClient, service: Service, value: str) -> None:
    """JSON has no such words, yet parsers take them."""
    for text in (json.dumps(body(value=123.25)), json.dumps(body(evidence={"per_document": [[123.25, 1.0]]}))):
        answer = client.post(
            PATH, content=text.replace("123.25", value), headers=token(service) | {"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["hint"]


@pytest.mark.usefixtures("claimed")
def test_accuracy_is_a_share(client: TestClient, service: Service) -> None:
    evidence = {"per_document": [[1.0, 1.0]] * 3 + [[0.0, 1.0]]}
    new = body(suite="quiz", metric="acc", value=0.75, low=None, high=None, documents=4, evidence=evidence)
    assert client.post(PATH, json=new, headers=token(service)).json()["value"] == 0.75


@pytest.mark.usefixtures("claimed")
def test_it_needs_a_token_with_the_scope(client: TestClient, service: Service) -> None:
    assert client.post(PATH, json=body()).status_code == 401
    assert client.post(PATH, json=body(), headers=token(service, scopes=["packages"])).status_code == 403
    answer = client.post("/api/v1/experts/power/9.0/evaluations", json=body(), headers=token(service))
    assert answer.status_code == 404


@pytest.mark.usefixtures("claimed")
def test_nobody_floods_an_expert(client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "MOST", 2)
    headers = token(service)
    codes = [client.post(PATH, json=body(harness=f"h{i}"), headers=headers).status_code for i in range(3)]
    assert codes == [201, 201, 429]
    assert len(list(service.blobs.names())) == 2
    assert client.post(PATH, json=body(), headers=token(service, "other")).status_code == 201


@pytest.mark.usefixtures("claimed")
def test_a_deleted_measurement_is_gone_with_its_evidence(client: TestClient, service: Service) -> None:
    """Its number is never given again: its evidence was cached under it for ever."""
    mine, rival = token(service, "hospital"), token(service, "rival")
    first = client.post(PATH, json=body(), headers=mine).json()
    same = client.post(PATH, json=body(), headers=rival).json()
    assert first["evidence"] == same["evidence"]
    path = f"/api/v1/evaluations/{same['id']}"
    assert client.delete(path).status_code == 401
    assert client.delete(path, headers=mine).status_code == 403
    assert client.delete(path, headers=token(service, "rival", ["packages"])).status_code == 403
    assert client.delete("/api/v1/evaluations/999", headers=mine).status_code == 404
    assert client.delete(path, headers=rival).status_code == 204
    assert service.blobs.size(first["evidence"]) is not None  # the other one's
    assert client.get(f"{path}/evidence").status_code == 410
    assert client.delete(path, headers=rival).status_code == 410
    assert [one["by"] for one in client.get(PATH).json()["measured"]] == ["hospital"]
    again = client.post(PATH, json=body(), headers=rival).json()
    assert again["id"] > same["id"]
    for id, headers in ((first["id"], mine), (again["id"], rival)):
        assert client.delete(f"/api/v1/evaluations/{id}", headers=headers).status_code == 204
    assert service.blobs.size(first["evidence"]) is None
    assert client.get(PATH).json()["measured"] == []
