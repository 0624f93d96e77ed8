"""Figures of private suites: signed by the publisher, kept apart from what others can measure again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.shelf import put, token
from support.signed import COMPOSITE, PATH, registered, signed
from support.textless import PRIVATE_SUITE

from cogen.trust import new_key
from cogen_registry.check import check
from cogen_registry.service import Service


def test_they_are_kept_apart(key: Path, client: TestClient, service: Service) -> None:
    """Manifest's figures and signed ones in a list of their own, neither among claims nor among measurements."""
    answer = client.post(PATH, json=signed(key), headers=token(service, "team"))
    assert answer.status_code == 201, answer.text
    kept = answer.json()
    assert (kept["expert"], kept["version"], kept["suite"], kept["by"]) == ("power", "1.0", "notes", "team")
    found = client.get("/api/v1/experts/power/1.0/evaluations").json()
    assert (found["claims"], found["measured"]) == ([], [])
    assert [(one["source"], one["name"], one["value"]) for one in found["private"]] == [
        ("manifest", "base", 1.5),
        ("manifest", "expert", 1.2),
        ("signed", "model", 1.25),
    ]
    assert {one["measured_at"] for one in found["private"]} == {"publisher"}
    again = client.post(PATH, json=signed(key), headers=token(service, "team"))
    assert again.status_code == 200  # an ECDSA signature is another one every time; what is signed is the same
    assert again.json()["id"] == kept["id"]


def test_the_evidence_is_what_was_signed(key: Path, client: TestClient, service: Service) -> None:
    """Anybody can check it; the registry's own check does, and it can be deleted."""
    document = signed(key)
    kept = client.post(PATH, json=document, headers=token(service, "team")).json()
    answer = client.get(f"/api/v1/evaluations/{kept['id']}/evidence")
    assert hashlib.sha256(answer.content).hexdigest() == kept["evidence"]
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-cache", "nosniff")
    known = {"If-None-Match": answer.headers["etag"]}
    assert client.get(f"/api/v1/evaluations/{kept['id']}/evidence", headers=known).status_code == 304
    assert json.loads(answer.content) == document
    assert client.post(PATH, json=document, headers=token(service, "team")).status_code == 200
    assert not [line for line in check(service, quick=True).damage if "evaluation" in line]
    assert client.delete(f"/api/v1/evaluations/{kept['id']}", headers=token(service, "team")).status_code == 204
    assert client.get(f"/api/v1/evaluations/{kept['id']}/evidence", headers=known).status_code == 410
    found = client.get("/api/v1/experts/power/1.0/evaluations").json()
    assert [one["source"] for one in found["private"]] == ["manifest", "manifest"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_digest": "sha256:" + "1" * 64}, "no released expert of team has a private suite 'notes' of this text"),
        ({"suite": "other"}, "has a private suite 'other'"),
        ({"documents": 41}, "`documents` of the figures is 41, the manifest of power says 40"),
        (
            {"metric": "acc", "model": {"name": "m", "digest": COMPOSITE, "value": 0.5, "low": 0.4, "high": 0.6}},
            "`metric` of the figures is acc",
        ),
    ],
)
def test_figures_of_another_suite(
    key: Path, client: TestClient, service: Service, changes: dict[str, Any], message: str
) -> None:
    answer = client.post(PATH, json=signed(key, **changes), headers=token(service, "team"))
    assert answer.status_code == 422
    assert message in answer.text


def test_two_suites_of_one_text(key: Path, client: TestClient, service: Service) -> None:
    """One text, two metrics: figures of either are taken, whichever the manifest has first."""
    acc = PRIVATE_SUITE | {"id": "told", "metric": "acc", "documents": 12}
    put(service, "power", "2.0", schema_version=2, private_suites=[acc, PRIVATE_SUITE])
    answer = client.post(PATH, json=signed(key), headers=token(service, "team"))
    assert (answer.status_code, answer.json().get("version")) == (201, "2.0"), answer.text
    model = {"name": "m", "digest": COMPOSITE, "value": 0.5, "low": 0.4, "high": 0.6}
    other = signed(key, suite="told", metric="acc", documents=12, model=model)
    assert client.post(PATH, json=other, headers=token(service, "team")).status_code == 201
    wrong = client.post(PATH, json=signed(key, documents=41), headers=token(service, "team"))
    assert (wrong.status_code, "of the figures is 41" in wrong.text) == (422, True)


def test_who_signs(key: Path, client: TestClient, service: Service, tmp_path: Path) -> None:
    """Nobody, a forger, a stranger's key, another publisher with its own key, and somebody without a token."""
    document = signed(key)
    cases = [
        (document | {"signature": None}, "team", 422, "not signed"),
        (
            document | {"figures": document["figures"] | {"date": "2026-05-05"}},
            "team",
            422,
            "not the one that was signed",
        ),
        (signed(_other(tmp_path)), "team", 403, "no valid key of team"),
        (document, "hospital", 403, "no valid key of hospital"),
        ({"figures": {"text": "Mrs Quill"}}, "team", 422, "no figures of a private suite"),
    ]
    for body, publisher, status, message in cases:
        answer = client.post(PATH, json=body, headers=token(service, publisher))
        assert (answer.status_code, message in answer.text) == (status, True), answer.text
    assert client.post(PATH, json=document).status_code == 401
    theirs = registered(tmp_path / "theirs.pem", "hospital", client, service)
    answer = client.post(PATH, json=signed(theirs), headers=token(service, "hospital"))
    assert answer.status_code == 422
    assert "no released expert of hospital" in answer.text


def _other(tmp_path: Path) -> Path:
    new_key(tmp_path / "other.pem")
    return tmp_path / "other.pem"
