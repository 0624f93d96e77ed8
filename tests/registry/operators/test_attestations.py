"""PEP 740: attestations that hold are shown, all others are refused; PEP 708: where else a project is."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sigstore.oidc
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.sign import SigningContext
from support import wheels
from support.desk import Desk
from support.issuer import Issuer, audience_of, issuing
from support.served import serving
from support.sigstore import Sigstore, running

from cogen.trust.identities import IdentitySigner

Ids = Callable[[str], str]
JSON = "application/vnd.pypi.simple.v1+json"
PUBLISH = "https://docs.pypi.org/attestations/publish/v1"
SUBJECT = "repo:org/power:environment:publish"


class Build:
    """A build machine: an issuer says who it is, to the registry and to a Sigstore of our own."""

    def __init__(self, desk: Any, issuer: Issuer, ours: Sigstore, config: Path) -> None:
        self.desk, self.issuer, self.ours, self.config = desk, issuer, ours, config

    def token(self) -> str:
        answer = self.desk.ask("POST", "/_/oidc/mint-token", json={"token": self.issuer.token()})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def attest(self, path: Path, name: str = SUBJECT, issuer: str | None = None, **changes: Any) -> dict[str, Any]:
        """An attestation of a file as PEP 740 has it."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        output = {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": PUBLISH,
            "predicate": None,
            "subject": [{"name": path.name, "digest": {"sha256": digest}}],
        } | changes
        context = SigningContext.from_trust_config(ClientTrustConfig.from_json(self.config.read_text()))
        identity = sigstore.oidc.IdentityToken(self.ours.token(name, issuer=issuer or self.issuer.url))
        with context.signer(identity) as signer:
            bundle = json.loads(signer.sign_dsse(Statement(json.dumps(output).encode())).to_json())
        material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
        return {
            "version": 1,
            "verification_material": {
                "certificate": material["certificate"]["rawBytes"],
                "transparency_entries": material["tlogEntries"],
            },
            "envelope": {"statement": envelope["payload"], "signature": envelope["signatures"][0]["sig"]},
        }

    def upload(self, path: Path, attestations: Any, token: str | None = None) -> Any:
        text = attestations if isinstance(attestations, str) else json.dumps(attestations)
        return self.desk.send(path, token or self.token(), attestations=text)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    folder = tmp_path_factory.mktemp("attested")
    with pytest.MonkeyPatch.context() as patch, running(folder) as (ours, config):
        patch.setenv("COGEN_SIGSTORE", str(config))
        with serving(folder / "root") as served, issuing(audience_of(served)) as issuer:
            served.token("team")
            desk = Desk(served, folder)
            yield Build(desk, issuer, ours, config)
            served.healthy()


@pytest.fixture
def wheel(build: Build, ids: Ids, tmp_path: Path) -> Path:
    """Of a project that trusts the build."""
    id = ids("made")
    build.desk.command(
        "trusted-publisher",
        "add",
        f"cogen-plugin-{id}",
        "--issuer",
        build.issuer.url,
        "--publisher",
        "team",
        "--subject",
        SUBJECT,
    )
    return wheels.build(tmp_path, id)


def project_of(path: Path) -> str:
    return path.name.split("-")[0].replace("_", "-")


def test_what_holds_is_shown(build: Build, wheel: Path) -> None:
    attestation = build.attest(wheel)
    answer = build.upload(wheel, [attestation])
    assert answer.status_code == 200, answer.text
    project, desk = project_of(wheel), build.desk
    (file,) = desk.get(f"/simple/{project}/", Accept=JSON).json()["files"]
    place = f"/integrity/{project}/1.0/{wheel.name}/provenance"
    assert file["provenance"] == f"../..{place}"
    assert f'data-provenance="../..{place}"' in desk.get(f"/simple/{project}/").text
    shown = desk.get(place)
    assert shown.headers["Content-Type"] == "application/vnd.pypi.integrity.v1+json"
    who = {"kind": "OIDC", "issuer": build.issuer.url, "subject": SUBJECT, "claims": None}
    assert shown.json() == {"version": 1, "attestation_bundles": [{"publisher": who, "attestations": [attestation]}]}
    mirror = build.desk.folder / f"mirror-{project}"
    desk.command("export", str(mirror))
    assert json.loads((mirror / place.strip("/")).read_text()) == shown.json()
    desk.command("takedown", "release", f"{project}==1.0", "--reason", "it was wrong")
    assert desk.get(place).status_code == 410


def altered(attestation: dict[str, Any], *path: str) -> dict[str, Any]:
    """With one byte of a value changed."""
    made = json.loads(json.dumps(attestation))
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    data = bytearray(base64.b64decode(inner[path[-1]]))
    data[len(data) // 2] ^= 1
    inner[path[-1]] = base64.b64encode(data).decode()
    return made


def test_what_does_not_hold(build: Build, wheel: Path, tmp_path: Path) -> None:
    good = build.attest(wheel)
    other = wheels.build(tmp_path, "something-else")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    cases: dict[str, Any] = {
        "no JSON": "{",
        "no list": {},
        "an empty list": "[]",
        "numbers": [1],
        "deep": "[" * 20_000,
        "more fields": [good | {"more": 1}],
        "another version": [good | {"version": 2}],
        "no log entry": [good | {"verification_material": {"certificate": "AAAA", "transparency_entries": []}}],
        "no certificate": [altered(good, "verification_material", "certificate")],
        "another statement": [altered(good, "envelope", "statement")],
        "another signature": [altered(good, "envelope", "signature")],
        "another file": [build.attest(other)],
        "another name": [build.attest(wheel, subject=[{"name": other.name, "digest": {"sha256": digest}}])],
        "two subjects": [build.attest(wheel, subject=[{"name": wheel.name, "digest": {"sha256": digest}}] * 2)],
        "another kind": [build.attest(wheel, predicateType="https://example.org/mine")],
        "another signer": [build.attest(wheel, name="repo:org/power:environment:test")],
        "the same twice": [good, good],
        "too many": [good] * 5,
    }
    token = build.token()
    for what, attestations in cases.items():
        answer = build.upload(wheel, attestations, token)
        assert answer.status_code == 400, (what, answer.text)
        assert answer.json()["hint"], what
    elsewhere = build.attest(wheel, issuer="https://evil.example")
    assert build.upload(wheel, [elsewhere], token).status_code == 400
    assert build.desk.get(f"/simple/{project_of(wheel)}/").status_code == 404
    assert build.upload(wheel, [good], token).status_code == 200


def test_a_token_of_a_person_attests_nothing(build: Build, wheel: Path) -> None:
    answer = build.upload(wheel, [build.attest(wheel)], build.desk.served.token("team"))
    assert answer.status_code == 400
    assert "trusted publisher's token" in answer.json()["error"]


def test_an_identity_among_the_keys_of_a_publisher_attests(build: Build, ids: Ids, tmp_path: Path) -> None:
    team, name, issuer = ids("team"), "alice@example.org", build.ours.issuer
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COGEN_SIGSTORE", str(build.config))
        identity, proof = IdentitySigner(build.ours.token(name)).prove(team)
    desk, path = build.desk, wheels.build(tmp_path, ids("signed"))
    token = desk.served.token(team)
    attestation = build.attest(path, name, issuer)
    assert build.upload(path, [attestation], token).status_code == 400
    assert desk.ask("POST", "/api/v1/keys", team, json={"pem": identity.text, "proof": proof}).status_code == 201
    assert build.upload(path, [build.attest(path, "eve@example.org", issuer)], token).status_code == 400
    assert build.upload(path, [attestation], token).status_code == 200
    shown = desk.get(f"/integrity/{project_of(path)}/1.0/{path.name}/provenance").json()
    who = {"kind": "Sigstore", "identity": name, "issuer": issuer, "claims": None}
    assert shown["attestation_bundles"][0]["publisher"] == who


def test_without_attestations_there_is_no_provenance(build: Build, wheel: Path) -> None:
    assert build.desk.send(wheel, build.token()).status_code == 200
    (file,) = build.desk.get(f"/simple/{project_of(wheel)}/", Accept=JSON).json()["files"]
    assert "provenance" not in file
    for path in (f"{project_of(wheel)}/1.0/{wheel.name}", f"nothing/1.0/{wheel.name}", f"{project_of(wheel)}/2/x"):
        assert build.desk.get(f"/integrity/{path}/provenance").status_code == 404


def test_where_else_a_project_is(desk: Any, ids: Ids) -> None:
    id = ids("linked")
    desk.published("team", id)
    project, tracked, other = f"cogen-plugin-{id}", f"https://pypi.org/simple/{id}/", f"https://r.example/simple/{id}/"
    desk.command("project", "link", project, "--tracks", tracked, "--alternate", other)
    page = desk.get(f"/simple/{project}/", Accept=JSON).json()
    assert page["meta"] == {"api-version": "1.3", "tracks": [tracked]}
    assert page["alternate-locations"] == [other]
    text = desk.get(f"/simple/{project}/").text
    assert f'<meta name="pypi:tracks" content="{tracked}">' in text
    assert f'<meta name="pypi:alternate-locations" content="{other}">' in text
    output = desk.command("project", "link", project).splitlines()
    assert output == [f"alternate-locations\t{other}", f"tracks\t{tracked}"]
    desk.command("project", "link", project, "--clear")
    assert "alternate-locations" not in desk.get(f"/simple/{project}/", Accept=JSON).json()
    for url in ("javascript:alert(1)", 'https://x/"><script>/', "https://x/simple", "ftp://x/"):
        assert "is not the page of a project" in desk.command("project", "link", project, "--tracks", url, code=1)
