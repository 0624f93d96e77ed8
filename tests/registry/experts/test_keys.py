"""Public keys: proved, never two publishers', never again once revoked."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.shelf import token

from cogen.trust import fingerprint, new_key, prove_possession
from cogen_registry.service import Service


@pytest.fixture
def private(tmp_path: Path) -> Path:
    new_key(tmp_path / "private.pem")
    return tmp_path / "private.pem"


def test_a_key_is_added_shown_and_revoked(client: TestClient, service: Service, private: Path) -> None:
    pem = private.with_suffix(".pub").read_text()
    headers = token(service, "team")
    new = {"pem": "# mine\n" + pem, "proof": prove_possession(private, "team")}
    added = client.post("/api/v1/keys", json=new, headers=headers)
    assert added.status_code == 201, added.text
    assert added.json()["fingerprint"] == fingerprint(pem)
    assert added.json()["pem"] == pem  # and nothing that stood around it
    assert client.post("/api/v1/keys", json=new, headers=headers).status_code == 200
    assert client.get("/api/v1/publishers/team").json()["keys"] == [added.json()]
    path = f"/api/v1/keys/{fingerprint(pem)}/revoke"
    assert client.post(path, headers=token(service, "other")).status_code == 404
    revoked = client.post(path, headers=headers).json()
    assert revoked["revoked"] is not None
    assert client.post(path, headers=headers).json() == revoked
    assert client.get("/api/v1/publishers/team").json()["keys"] == [revoked]
    assert client.post("/api/v1/keys", json=new, headers=headers).status_code == 409


def test_a_key_needs_a_proof_for_this_publisher(
    client: TestClient, service: Service, private: Path, tmp_path: Path
) -> None:
    pem = private.with_suffix(".pub").read_text()
    new_key(tmp_path / "other.pem")
    proofs = [prove_possession(private, "other"), prove_possession(tmp_path / "other.pem", "team"), "", "%%%"]
    for proof in proofs:
        answer = client.post("/api/v1/keys", json={"pem": pem, "proof": proof}, headers=token(service, "team"))
        assert answer.status_code == 422
        assert answer.json()["error"]
    assert client.get("/api/v1/publishers/team").json()["keys"] == []


def test_a_key_of_another_publisher_is_refused(client: TestClient, service: Service, private: Path) -> None:
    pem = private.with_suffix(".pub").read_text()
    for publisher, code in (("team", 201), ("other", 409)):
        new = {"pem": pem, "proof": prove_possession(private, publisher)}
        assert client.post("/api/v1/keys", json=new, headers=token(service, publisher)).status_code == code


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(client: TestClient, service: Service, pem: str) -> None:
    answer = client.post("/api/v1/keys", json={"pem": pem, "proof": ""}, headers=token(service))
    assert answer.status_code == 422


def test_it_needs_a_token_with_the_scope(client: TestClient, service: Service, private: Path) -> None:
    new = {"pem": private.with_suffix(".pub").read_text(), "proof": prove_possession(private, "team")}
    assert client.post("/api/v1/keys", json=new).status_code == 401
    assert client.post("/api/v1/keys", json=new, headers=token(service, scopes=["weights"])).status_code == 403
