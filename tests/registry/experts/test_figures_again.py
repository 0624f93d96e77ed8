"""Signed figures that are sent again: wrapped otherwise, after a take-down, for another version, by another key; and
what no figure can be."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from registry.experts.test_composites import lock_of
from support.shelf import put, token
from support.signed import COMPOSITE, PATH, figures, registered, signed
from support.textless import PRIVATE_SUITE

from cogen.evals.figures import FiguresDocument
from cogen.trust import fingerprint
from cogen_registry.check import check
from cogen_registry.cli import main
from cogen_registry.service import Service

WHY = "a wrong split"


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
    path, html = "/api/v1/composites/team/city", {"Accept": "text/html"}
    assert [one["by"] for one in client.get(path).json()["private"]] == ["team"]
    page = client.get("/composites/team/city", headers=html).text
    assert page.count("signed by team") == 1
    assert "rival" not in page
    assert take_down(service, "release", "cogen-plugin-power==1.0", "names") == 0
    assert client.get(path).json()["private"] == []
    service.news.catch_up()  # the command was run in this process, the service hears of it within half a second
    assert "signed by" not in client.get("/composites/team/city", headers=html).text


def post(client: TestClient, service: Service, body: dict[str, Any], publisher: str = "team") -> Any:
    return client.post(PATH, json=body, headers=token(service, publisher))


def shown(client: TestClient, version: str = "1.0", expert: str = "power") -> list[dict[str, Any]]:
    """Signed figures of one version."""
    found = client.get(f"/api/v1/experts/{expert}/{version}/evaluations").json()["private"]
    return [one for one in found if one["source"] == "signed"]


def bundle_with(document: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document))
    change(found["signature"]["bundle"])
    return found


def check_whole(service: Service) -> None:
    """Every evidence is what was signed, and no blob is left over; there are no wheels, experts are put into tables."""
    found = check(service)
    assert [line for line in found.damage if not line.startswith("the wheel ")] == []
    assert found.unnamed == 0


HIDDEN = base64.b64encode(b"Mrs Quill of ward 7").decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b["verificationMaterial"].update(
            timestampVerificationData={"rfc3161Timestamps": [{"signedTimestamp": HIDDEN}]}
        ),
        lambda b: b["verificationMaterial"]["publicKey"].update(rawBytes=HIDDEN),
        lambda b: b["dsseEnvelope"]["signatures"][0].update(
            sig=b["dsseEnvelope"]["signatures"][0]["sig"] + "====" + HIDDEN
        ),
        lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="\n " + b["dsseEnvelope"]["signatures"][0]["sig"]),
        lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid=HIDDEN),
    ],
)
def test_text_in_parts_that_are_not_signed(
    key: Path, client: TestClient, service: Service, change: Callable[[dict[str, Any]], Any]
) -> None:
    """A bundle has room beside the signature: what a check does not read is not kept."""
    document = signed(key)
    # A third of all signatures has no padding, and what comes behind "====" then counts as one more part of it.
    while not document["signature"]["bundle"]["dsseEnvelope"]["signatures"][0]["sig"].endswith("="):
        document = signed(key)
    kept = post(client, service, bundle_with(document, change))
    assert kept.status_code == 201, kept.text
    evidence = client.get(f"/api/v1/evaluations/{kept.json()['id']}/evidence")
    assert json.loads(evidence.content) == document
    check_whole(service)


@pytest.mark.parametrize(
    "change",
    [
        lambda b, secret: b.update({secret: 1}),
        lambda b, secret: b.update(note=secret),
        lambda b, secret: b.update(mediaType=secret),
        lambda b, secret: b["verificationMaterial"].update(tlogEntries=[{"logIndex": secret}]),
        lambda b, secret: b["dsseEnvelope"].update({secret: secret}),
        lambda b, secret: b["dsseEnvelope"]["signatures"][0].update(sig=secret),
        lambda b, secret: b["verificationMaterial"]["publicKey"].update(hint=secret),
    ],
)
def test_no_answer_repeats_what_was_sent(
    key: Path, client: TestClient, service: Service, change: Callable[[dict[str, Any], str], Any]
) -> None:
    """A token in the wrong field, say: neither an error nor what is kept has it."""
    secret = "cogen_" + "S" * 30
    answer = post(client, service, bundle_with(signed(key), lambda bundle: change(bundle, secret)))
    assert answer.status_code in (201, 422)
    assert secret not in answer.text
    assert "input_value" not in answer.text
    if answer.status_code == 201:
        assert secret not in client.get(f"/api/v1/evaluations/{answer.json()['id']}/evidence").text


def test_taken_down_figures_do_not_come_with_a_new_version(key: Path, client: TestClient, service: Service) -> None:
    kept = post(client, service, signed(key)).json()
    assert take_down(service, "evaluation", str(kept["id"]), WHY) == 0
    put(service, "power", "1.1", schema_version=2, private_suites=[PRIVATE_SUITE])
    answer = post(client, service, signed(key))
    assert (answer.status_code, WHY in answer.text) == (410, True), answer.text
    assert shown(client) == shown(client, "1.1") == []


def test_purged_figures_stay_away(key: Path, client: TestClient, service: Service) -> None:
    """Their row is gone with their bytes; what was in them is remembered, in this version and in the next."""
    kept = post(client, service, signed(key)).json()
    purge = ["takedown", "evaluation", str(kept["id"]), "--reason", WHY, "--purge", "--root"]
    assert main([*purge, str(service.settings.root)]) == 0
    for version in ("1.0", "1.1"):
        if version != "1.0":
            put(service, "power", version, schema_version=2, private_suites=[PRIVATE_SUITE])
        answer = post(client, service, signed(key))
        assert (answer.status_code, WHY in answer.text) == (410, True), answer.text
    assert post(client, service, signed(key, date="2026-02-03")).status_code == 201  # others are others


def test_what_its_publisher_deleted_may_come_again(key: Path, client: TestClient, service: Service) -> None:
    """Under another number: it was nobody's decision but its own."""
    first = post(client, service, signed(key)).json()["id"]
    assert client.delete(f"/api/v1/evaluations/{first}", headers=token(service, "team")).status_code == 204
    again = post(client, service, signed(key))
    assert again.status_code == 201
    assert again.json()["id"] != first
    assert client.get(f"/api/v1/evaluations/{first}/evidence").status_code == 410


def test_signed_again_and_again_leaves_nothing(key: Path, client: TestClient, service: Service) -> None:
    """Each signature over the same has other bytes: only those of the first are kept."""
    answers = [post(client, service, signed(key)) for _ in range(4)]
    assert [one.status_code for one in answers] == [201, 200, 200, 200]
    check_whole(service)


def test_the_same_for_two_versions_is_shown_once(key: Path, client: TestClient, service: Service) -> None:
    """Of a composite, with the newest version that it was sent for."""
    made = lock_of("power")
    of = {"name": "composite", "digest": made["weights_digest"], "value": 1.25, "low": 1.2, "high": 1.3}
    assert post(client, service, signed(key, model=of)).status_code == 201
    put(service, "power", "1.1", schema_version=2, private_suites=[PRIVATE_SUITE])
    assert post(client, service, signed(key, model=of)).status_code == 201
    body = {"name": "city", "title": "City", "lock": made, "card": "# City"}
    assert client.post("/api/v1/composites", json=body, headers=token(service, "team")).status_code == 201
    found = client.get("/api/v1/composites/team/city").json()["private"]
    assert [one["version"] for one in found] == ["1.1"]


def test_a_key_that_is_revoked_later(key: Path, client: TestClient, service: Service, tmp_path: Path) -> None:
    """What it signed stays, after the others and marked; signed with the next key it is as good as before."""
    assert post(client, service, signed(key, date="2026-02-02")).status_code == 201
    page = "/experts/power/1.0"
    html = {"Accept": "text/html"}
    assert "that was revoked" not in client.get(page, headers=html).text
    (before,) = shown(client)
    assert (before["key"], before["key_revoked"]) == (fingerprint(key.with_suffix(".pub").read_text()), None)
    later = registered(tmp_path / "later.pem", "team", client, service, by=key)
    assert post(client, service, signed(later, date="2026-01-01")).status_code == 201
    answer = client.post(f"/api/v1/keys/{before['key']}/revoke", headers=token(service, "team"))
    assert answer.status_code == 200
    assert [(one["date"], one["key_revoked"] is None) for one in shown(client)] == [
        ("2026-01-01", True),
        ("2026-02-02", False),
    ]
    assert "that was revoked" in client.get(page, headers=html).text
    assert post(client, service, signed(key, date="2026-02-02")).status_code == 403
    again = post(client, service, signed(later, date="2026-02-02"))
    assert (again.status_code, again.json()["id"], again.json()["key_revoked"]) == (200, before["id"], None)
    assert [one["date"] for one in shown(client)] == ["2026-02-02", "2026-01-01"]
    assert "that was revoked" not in client.get(page, headers=html).text
    evidence = client.get(f"/api/v1/evaluations/{before['id']}/evidence")
    assert FiguresDocument.model_validate(evidence.json()).check() == fingerprint(later.with_suffix(".pub").read_text())
    check_whole(service)


def test_who_took_over_a_project_has_no_text(key: Path, client: TestClient, service: Service, tmp_path: Path) -> None:
    """Neither side sends figures of a suite of releases that were published before; what was sent stays."""
    assert post(client, service, signed(key)).status_code == 201
    put(service, "law", team="heir")
    heirs = registered(tmp_path / "heir.pem", "heir", client, service)
    move = ["project", "transfer", "cogen-plugin-power", "heir", "--root", str(service.settings.root)]
    assert main(move) == 0
    for who, by in ((key, "team"), (heirs, "heir")):
        answer = post(client, service, signed(who, date="2026-05-05"), by)
        assert (answer.status_code, f"no released expert of {by}" in answer.text) == (422, True), answer.text
    assert [one["by"] for one in shown(client)] == ["team"]
    put(service, "power", "1.1", team="heir", schema_version=2, private_suites=[PRIVATE_SUITE])
    assert post(client, service, signed(heirs, date="2026-05-05"), "heir").status_code == 201


def test_days_that_have_not_come(key: Path, client: TestClient, service: Service) -> None:
    """The newest are shown first: figures of the future would stay so."""
    today = datetime.datetime.now(datetime.UTC).date()
    for days, status in ((0, 201), (1, 201), (2, 422), (36500, 422)):
        day = (today + datetime.timedelta(days)).isoformat()
        answer = post(client, service, signed(key, date=day))
        assert answer.status_code == status, answer.text
        assert status == 201 or "has not come yet" in answer.text


@pytest.mark.parametrize(
    "change",
    [
        {"date": "1999-12-31"},
        {"date": "0001-01-01"},
        {"model": {"name": "m", "digest": COMPOSITE, "value": 1e308, "low": 1e308, "high": 1e308}},
        {"model": {"name": "m", "digest": COMPOSITE, "value": 1, "low": 1, "high": float("inf")}},
        {"model": {"name": "m", "digest": COMPOSITE, "value": float("nan"), "low": 1, "high": 2}},
        {"model": {"name": "m\u0085\x1b[31m", "digest": COMPOSITE, "value": 1, "low": 1, "high": 1}},
        {"harness": "lm-eval \u202e evil"},
        {"title": "two\u2028lines"},
        {"settings": {"dtype": "\u2066float32"}},
        {"settings": {"scale": float("inf")}},
        {"settings": {"scale": 10**300}},
    ],
)
def test_other_impossible_figures(change: dict[str, Any]) -> None:
    """A day before anything was measured, no value of the metric, or text that reads otherwise than it is written."""
    with pytest.raises(ValidationError):
        figures(**change)
