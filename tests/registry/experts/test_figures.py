"""Figures of private suites: signed by the publisher, kept apart from what others can measure again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from registry.experts.test_composites import lock_of
from support.shelf import put, token
from support.textless import PRIVATE_SUITE

from cogen.evals.figures import Figures, FiguresDocument, sign_figures
from cogen.trust import new_key, prove_possession
from cogen_registry.check import check
from cogen_registry.cli import main
from cogen_registry.service import Service

PATH = "/api/v1/private-figures"
COMPOSITE = "sha256:" + "5" * 64


@pytest.fixture
def key(tmp_path: Path, client: TestClient, service: Service) -> Path:
    """The team's key, known to the registry; its expert has a public and a private suite."""
    put(service, "power", schema_version=2, private_suites=[PRIVATE_SUITE])
    return registered(tmp_path / "key.pem", "team", client, service)


def registered(path: Path, publisher: str, client: TestClient, service: Service) -> Path:
    new = {"pem": new_key(path), "proof": prove_possession(path, publisher)}
    assert client.post("/api/v1/keys", json=new, headers=token(service, publisher)).status_code == 201
    return path


def figures(**changes: Any) -> Figures:
    shared = ("title", "metric", "documents", "bytes", "text_digest", "date", "harness")
    document = {
        **{name: PRIVATE_SUITE[name] for name in shared},
        "suite": "notes",
        "model": {"name": "composite", "digest": COMPOSITE, "value": 1.25, "low": 1.2, "high": 1.3},
        "settings": {"dtype": "float32"},
    }
    return Figures.model_validate(document | changes)


def signed(key: Path, **changes: Any) -> dict[str, Any]:
    pem = key.with_suffix(".pub").read_text()
    found: dict[str, Any] = sign_figures(figures(**changes), key, pem, "team").model_dump(mode="json")
    return found


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
    assert json.loads(answer.content) == document
    assert client.post(PATH, json=document, headers=token(service, "team")).status_code == 200
    assert not [line for line in check(service, quick=True).damage if "evaluation" in line]
    assert client.delete(f"/api/v1/evaluations/{kept['id']}", headers=token(service, "team")).status_code == 204
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


def take_down(service: Service, kind: str, name: str, why: str) -> int:
    return main(["takedown", kind, name, "--reason", why, "--root", str(service.settings.root)])


def rewrapped(document: dict[str, Any], **changes: str) -> dict[str, Any]:
    """The same signed figures with what no signature covers changed."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    signature = found["signature"]
    signature["publisher"] = changes.get("publisher", "team")
    signature["bundle"]["dsseEnvelope"]["signatures"][0]["keyid"] = changes.get("keyid", "")
    signature["key"] = changes.get("before", "") + signature["key"] + changes.get("after", "")
    return found


@pytest.mark.parametrize("change", ["publisher", "keyid", "before", "after"])
def test_what_is_not_signed_is_not_kept(key: Path, client: TestClient, service: Service, change: str) -> None:
    """Neither as new figures, nor as text that anybody could have written: not under the publisher's signature."""
    document = signed(key)
    text = "Mrs Quill of ward 7\n" if change in ("before", "after") else "Mrs Quill of ward 7"
    first = client.post(PATH, json=rewrapped(document, **{change: text}), headers=token(service, "team"))
    assert first.status_code == 201, first.text
    evidence = client.get(f"/api/v1/evaluations/{first.json()['id']}/evidence")
    assert "Quill" not in evidence.text
    assert FiguresDocument.model_validate(evidence.json()).check() == FiguresDocument.model_validate(document).check()
    again = client.post(PATH, json=document, headers=token(service, "team"))
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


def test_taken_down_figures_stay_so(key: Path, client: TestClient, service: Service) -> None:
    """However they are wrapped or signed again."""
    document = signed(key)
    kept = client.post(PATH, json=document, headers=token(service, "team")).json()
    down = [
        "takedown",
        "evaluation",
        str(kept["id"]),
        "--reason",
        "a wrong split",
        "--root",
        str(service.settings.root),
    ]
    assert main(down) == 0
    for body in (document, rewrapped(document, publisher="other"), signed(key)):
        answer = client.post(PATH, json=body, headers=token(service, "team"))
        assert answer.status_code == 410, answer.text
        assert "a wrong split" in answer.text
    found = client.get("/api/v1/experts/power/1.0/evaluations").json()
    assert [one["source"] for one in found["private"]] == ["manifest", "manifest"]


def test_old_figures_do_not_become_the_newest(key: Path, client: TestClient, service: Service) -> None:
    """The day is that of the measurement, whenever they arrive."""
    for day in ("2026-11-29", "2025-01-01"):
        assert client.post(PATH, json=signed(key, date=day), headers=token(service, "team")).status_code == 201
    found = client.get("/api/v1/experts/power/1.0/evaluations").json()["private"]
    assert [one["date"] for one in found if one["source"] == "signed"] == ["2026-11-29", "2025-01-01"]


@pytest.mark.parametrize(
    "change",
    [
        {"date": "9999-99-99"},
        {"model": {"name": "m", "digest": COMPOSITE, "value": -5, "low": -6, "high": -4}},
        {"metric": "acc"},
        {"settings": {"dtype": "x" * 1000}},
        {"settings": {"<b>": 1}},
        {"settings": {f"s{n}": n for n in range(99)}},
    ],
)
def test_impossible_figures(change: dict[str, Any]) -> None:
    """No day, no value of the metric, or room for a text."""
    with pytest.raises(ValidationError):
        figures(**change)


def test_whose_figures_a_composite_shows(key: Path, client: TestClient, service: Service, tmp_path: Path) -> None:
    """Those of publishers of its experts, while their releases are there; nobody else's."""
    put(service, "law", team="rival", schema_version=2, private_suites=[PRIVATE_SUITE | {"id": "laws"}])
    theirs = registered(tmp_path / "rival.pem", "rival", client, service)
    made = lock_of("power")
    of = {"name": "composite", "digest": made["weights_digest"], "value": 1.25, "low": 1.2, "high": 1.3}
    for who, by, suite in ((key, "team", "notes"), (theirs, "rival", "laws")):
        answer = client.post(PATH, json=signed(who, suite=suite, model=of), headers=token(service, by))
        assert answer.status_code == 201, answer.text
    body = {"name": "city", "title": "City", "lock": made, "card": "# City"}
    assert client.post("/api/v1/composites", json=body, headers=token(service, "team")).status_code == 201
    path = "/api/v1/composites/team/city"
    assert [one["by"] for one in client.get(path).json()["private"]] == ["team"]
    assert take_down(service, "release", "cogen-plugin-power==1.0", "names") == 0
    assert client.get(path).json()["private"] == []
