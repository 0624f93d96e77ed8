"""Trusted publishing: an own issuer with real keys, unmodified uv, and every token that must not be taken."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import issuer as issuers
from support import wheels
from support.issuer import Issuer, audience_of, issuing
from support.served import serving
from support.tls import in_front_of

from cogen_registry.operators.trusted import matches

Ids = Callable[[str], str]


@pytest.fixture
def issuer(desk: Any) -> Iterator[Issuer]:
    with issuing(audience_of(desk.served)) as made:
        yield made


@pytest.fixture
def project(desk: Any, ids: Ids, issuer: Issuer) -> str:
    """The id of an expert whose project, not there yet, trusts the issuer's builds of one workflow."""
    desk.served.token("team")
    id = ids("built")
    claims = ("--claims", "repository=org/power,workflow=release.yml", "--claims", "environment=publish")
    name = f"cogen-plugin-{id}"
    desk.command("trusted-publisher", "add", name, "--issuer", issuer.url, "--publisher", "team", *claims)
    return id


def mint(desk: Any, token: Any) -> Any:
    return desk.ask("POST", "/_/oidc/mint-token", json={"token": token})


def test_a_build_publishes_what_it_was_trusted_with(desk: Any, issuer: Issuer, project: str) -> None:
    assert desk.get("/_/oidc/audience").json() == {"audience": issuer.audience}
    before = int(time.time())
    given = mint(desk, issuer.token())
    assert given.status_code == 200, given.text
    output = given.json()
    assert output["success"] is True
    assert given.headers["Cache-Control"] == "no-store"
    assert before < output["expires"] <= time.time() + 15 * 60
    assert desk.ask("GET", "/api/v1/whoami", headers={"Authorization": f"Bearer {output['token']}"}).json() == {
        "name": "team",
        "title": "Team",
        "scopes": [f"packages:cogen-plugin-{project}"],
    }
    assert desk.upload("team", project, token=output["token"]).status_code == 200
    assert desk.upload("team", project + "-other-one", token=output["token"]).status_code == 403
    rows = json.loads(desk.command("log", "--json", "--publisher", "team"))
    minted = next(one for one in rows if one["action"] == "token.mint" and one["detail"]["issuer"] == issuer.url)
    assert minted["detail"]["claims"]["repository"] == "org/power"
    assert output["token"] not in json.dumps(rows)
    burned = desk.ask("POST", "/_/oidc/burn-token", json={"token": output["token"]})
    assert burned.status_code == 202
    assert desk.upload("team", project, "2.0", token=output["token"]).status_code == 401


def test_unmodified_uv(desk: Any, issuer: Issuer, project: str, tmp_path: Path) -> None:
    """In a runner of GitHub's, without any secret. It insists on TLS; twine does this for PyPI alone."""
    wheel = wheels.build(tmp_path, project)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_", "TWINE_"))}
    uv = Path(sys.executable).with_name("uv")
    with in_front_of(desk.served.url, tmp_path) as (url, roots):
        env |= {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/request?x=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner",
            "UV_NO_CONFIG": "1",
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(roots),
            "REQUESTS_CA_BUNDLE": str(roots),
            "HOME": str(tmp_path),
        }
        command = [str(uv) if uv.exists() else "uv", "publish", "--trusted-publishing", "always", "--publish-url"]
        done = subprocess.run(
            [*command, f"{url}/legacy/", str(wheel)],
            capture_output=True,
            text=True,
            env=env,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert wheel.name in desk.get(f"/simple/cogen-plugin-{project}/").text


@pytest.mark.parametrize(
    ("key", "kid", "alg"), [(issuers.RSA, "rsa", "RS256"), (issuers.RSA, "rsa", "PS256"), (issuers.EC, "ec", "ES256")]
)
def test_kinds_of_keys(desk: Any, issuer: Issuer, project: str, key: Any, kid: str, alg: str) -> None:
    assert mint(desk, issuer.token(key, kid, alg)).status_code == 200


def unsigned(issuer: Issuer, alg: str = "none") -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': alg, 'kid': 'ec'})}.{part(issuer.claims())}."


def confused(issuer: Issuer) -> str:
    """Signed with the public key as if it were a shared secret."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    secret = issuers.RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = unsigned(issuer, "HS256").replace(".", "|", 1).rstrip(".").replace("|", ".")
    mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


NOW = int(time.time())
BAD: dict[str, Callable[[Issuer], Any]] = {
    "no signature": unsigned,
    "a shared secret": confused,
    "another key": lambda one: one.token(issuers.OTHER),
    "an unknown key": lambda one: one.token(kid="other"),
    "no key": lambda one: one.token(kid=None),
    "an RSA key for EC": lambda one: one.token(issuers.EC, "rsa", "ES256"),
    "a weak key": lambda one: one.token(issuers.WEAK, "weak", "RS256"),
    "another audience": lambda one: one.token(aud="pypi"),
    "two audiences": lambda one: one.token(aud=[one.audience, "pypi"]),
    "no audience": lambda one: one.token(aud=None),
    "expired": lambda one: one.token(exp=NOW - 3600),
    "no end": lambda one: one.token(exp=None),
    "a far end": lambda one: one.token(exp=NOW + 10 * 365 * 24 * 3600),
    "not yet": lambda one: one.token(nbf=NOW + 3600),
    "made later": lambda one: one.token(iat=NOW + 3600),
    "another repository": lambda one: one.token(repository="org/other"),
    "another workflow": lambda one: one.token(job_workflow_ref="org/power/.github/workflows/test.yml@refs/heads/main"),
    "a workflow of another repository": lambda one: one.token(
        job_workflow_ref="evil/power/.github/workflows/release.yml@refs/heads/main"
    ),
    "another environment": lambda one: one.token(environment="test"),
    "no environment": lambda one: one.token(environment=None),
    "a list where a word was": lambda one: one.token(repository=["org/power"]),
    "another issuer": lambda one: one.token(iss="https://evil.example"),
    "an issuer that begins alike": lambda one: one.token(iss=one.url + ".evil.example"),
    "an issuer with a slash": lambda one: one.token(iss=one.url + "/"),
    "no issuer": lambda one: one.token(iss=None),
    "no subject": lambda one: one.token(sub=None),
    "words": lambda one: "not a token",
    "dots": lambda one: "..",
    "too long": lambda one: "a." + "b" * 20_000 + ".c",
    "deep": lambda one: f"{base64.urlsafe_b64encode(b'[' * 9_000).decode()}.e30.x",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_taken(desk: Any, issuer: Issuer, project: str, what: str) -> None:
    answer = mint(desk, BAD[what](issuer))
    assert answer.status_code == 422, (what, answer.text)
    output = answer.json()
    assert output["errors"][0]["description"]
    assert output["error"]
    assert "token" not in output


def test_it_is_good_for_one_exchange(desk: Any, issuer: Issuer, project: str) -> None:
    token = issuer.token()
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(lambda _: mint(desk, token).status_code, range(4)))
    assert codes == [200, 422, 422, 422]
    without = issuer.token(jti=None)
    assert [mint(desk, without).status_code for _ in range(2)] == [200, 422]


def test_an_issuer_is_asked_once_and_never_one_that_nobody_named(desk: Any, issuer: Issuer, project: str) -> None:
    for _ in range(3):
        assert mint(desk, issuer.token()).status_code == 200
    for number in range(3):
        assert mint(desk, issuer.token(kid=f"unknown-{number}")).status_code == 422
    assert issuer.asked == 1
    with issuing(issuer.audience) as other:
        assert mint(desk, other.token()).status_code == 422
        assert other.server is not None
        assert other.server.seen == []


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://evil.example/keys"},
        {"jwks_uri": None},
        {"padding": "a" * 300_000},
    ],
)
def test_an_issuer_that_lies(desk: Any, issuer: Issuer, project: str, changes: dict[str, Any]) -> None:
    issuer.changes = changes
    answer = mint(desk, issuer.token())
    assert answer.status_code == 503, answer.text
    assert "Retry-After" in answer.headers


def test_an_issuer_whose_name_ends_in_a_slash(desk: Any, issuer: Issuer, ids: Ids) -> None:
    """The name is compared as it is; its documents lie below it."""
    name = f"cogen-plugin-{ids('slash')}"
    issuer.changes = {"issuer": issuer.url + "/"}
    desk.served.token("team")
    desk.command(
        "trusted-publisher", "add", name, "--issuer", issuer.url + "/", "--publisher", "team", "--subject", "x"
    )
    assert mint(desk, issuer.token(sub="x")).status_code == 422
    assert mint(desk, issuer.token(sub="x", iss=issuer.url + "/")).status_code == 200


def test_who_is_trusted_is_listed_and_taken_back(desk: Any, issuer: Issuer, project: str) -> None:
    (one,) = json.loads(desk.command("trusted-publisher", "list", f"cogen-plugin-{project}", "--json"))
    assert (one["publisher"], one["issuer"]) == ("team", issuer.url)
    assert "already" in desk.command(
        "trusted-publisher",
        "add",
        one["project"],
        "--issuer",
        issuer.url,
        "--publisher",
        "team",
        "--claims",
        ",".join(f"{k}={v}" for k, v in one["claims"].items()),
        code=1,
    )
    desk.command("trusted-publisher", "remove", str(one["id"]))
    assert mint(desk, issuer.token()).status_code == 422
    assert "no trusted publisher" in desk.command("trusted-publisher", "remove", str(one["id"]), code=1)


def test_a_transfer_ends_the_trust(desk: Any, issuer: Issuer, project: str) -> None:
    desk.published("team", project)
    desk.served.token("rival")
    desk.command("project", "transfer", f"cogen-plugin-{project}", "rival")
    assert mint(desk, issuer.token()).status_code == 422


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--issuer", "github"), "everybody who builds"),
        (("--issuer", "github", "--claims", "environment=x"), "everybody"),
        (("--issuer", "http://issuer.example", "--subject", "x"), "not an issuer"),
        (("--issuer", "github", "--claims", "repository"), "not a claim"),
        (("--issuer", "github", "--subject", "x"), "no project"),
        (("--issuer", "github", "--subject", "x", "--publisher", "nobody"), "no publisher"),
    ],
)
def test_what_can_not_be_trusted(desk: Any, options: tuple[str, ...], says: str) -> None:
    assert says in desk.command("trusted-publisher", "add", "cogen-plugin-nothing", *options, code=1)


def test_claims_are_compared_exactly() -> None:
    claims = {"repository": "org/power", "run": 5, "flag": True}
    assert matches({"repository": "org/power", "run": "5"}, claims)
    for wanted in ({"repository": "org/powe"}, {"repository": "Org/power"}, {"flag": "True"}, {"missing": "None"}):
        assert not matches(wanted, claims)


def test_the_host_that_a_request_names_is_no_audience(desk: Any, issuer: Issuer, project: str) -> None:
    """A registry that gets tokens for itself would show them here and say that this is its own host."""
    assert desk.get("/_/oidc/audience", Host="evil.example").json() == {"audience": issuer.audience}
    stolen = issuer.token(aud="evil.example")
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    assert desk.ask("POST", "/_/oidc/mint-token", json={"token": stolen}, headers=headers).status_code == 422


def test_the_audience_that_the_operator_chose(tmp_path: Path) -> None:
    settings = tmp_path / "more.toml"
    settings.write_text('oidc_audience = "models.example.org"\n')
    with serving(tmp_path / "root", "--settings", str(settings)) as served:
        assert served.get("/_/oidc/audience").json() == {"audience": "models.example.org"}
