"""What the registry takes as a project's chain: nothing that a client would refuse, and nothing by a token alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support import shelf
from support.naming import statement

from cogen.trust import fingerprint, new_key, prove_possession, prove_succession, public_key
from cogen.trust.metadata.keys import signer_of
from cogen.trust.metadata.project import entry_of, new_root, new_targets, sign
from cogen_registry.service import Service

PROJECT = "cogen-plugin-power"
PATH = f"/api/v1/projects/{PROJECT}/metadata"


class Publisher:
    """A team with keys, that speaks to the registry by hand."""

    def __init__(self, client: TestClient, service: Service, folder: Path, name: str = "team") -> None:
        self.client, self.folder, self.name = client, folder, name
        self.headers = shelf.token(service, name)

    def key(self, name: str, by: str | None = None) -> Any:
        """A signer whose key is registered."""
        path = self.folder / f"{self.name}-{name}.pem"
        pem = new_key(path)
        output: dict[str, Any] = {"pem": pem, "proof": prove_possession(path, self.name)}
        if by is not None:
            known, proof = prove_succession(self.folder / f"{self.name}-{by}.pem", self.name, fingerprint(pem))
            output["by"] = {"fingerprint": known, "proof": proof}
        answer = self.client.post("/api/v1/keys", json=output, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return signer_of(path)

    def put(self, roots: list[Any], targets: Any, path: str = PATH, **headers: str) -> Any:
        body = {"roots": [one.to_dict() for one in roots], "targets": targets.to_dict()}
        return self.client.put(path, json=body, headers=headers or self.headers)


@pytest.fixture
def team(client: TestClient, service: Service, tmp_path: Path) -> Publisher:
    shelf.put(service, "power", "1.0")
    shelf.put(service, "power", "1.1")
    return Publisher(client, service, tmp_path)


def listing(number: int, *releases: str, change: dict[str, Any] | None = None) -> Any:
    entries = [entry_of(statement("power", one) | (change or {})) for one in releases]
    return new_targets(PROJECT, number, entries)


def refused(answer: Any, status: int, words: str) -> None:
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert answer.json()["hint"]


def test_a_chain_is_made_goes_on_and_changes_its_key(team: Publisher) -> None:
    first = team.key("first")
    root = sign(new_root(PROJECT, [first.public_key]), [first])
    answer = team.put([root], sign(listing(1, "1.0"), [first]))
    assert answer.status_code == 200, answer.text
    output = answer.json()
    assert (output["root"], output["targets"], output["releases"]) == (1, 1, 1)
    assert output["keys"] == [f"sha256:{first.public_key.keyid}"]
    assert team.put([], sign(listing(2, "1.0", "1.1"), [first])).json()["releases"] == 2
    second = team.key("second", by="first")
    following = sign(new_root(PROJECT, [second.public_key], before=root.signed), [first, second])
    answer = team.put([following], sign(listing(3, "1.0", "1.1"), [second])).json()
    assert (answer["root"], answer["keys"]) == (2, [f"sha256:{second.public_key.keyid}"])
    refused(team.put([], sign(listing(4, "1.0"), [first])), 422, "not signed with its keys")
    refused(team.put([], sign(listing(3, "1.0"), [second])), 409, "is older")
    same = sign(listing(3, "1.0", "1.1"), [second])
    assert team.put([], same).status_code in (200, 409)


class TestRefused:
    @pytest.fixture
    def bound(self, team: Publisher) -> tuple[Publisher, Any, Any]:
        first = team.key("first")
        root = sign(new_root(PROJECT, [first.public_key]), [first])
        assert team.put([root], sign(listing(1, "1.0"), [first])).status_code == 200
        return team, first, root

    def test_a_key_that_the_old_one_did_not_sign(self, bound: tuple[Publisher, Any, Any]) -> None:
        """Somebody with the team's token, and with a key that is registered."""
        team, _, root = bound
        second = team.key("second", by="first")
        following = sign(new_root(PROJECT, [second.public_key], before=root.signed), [second])
        refused(team.put([following], sign(listing(2, "1.0"), [second])), 422, "the keys of before did not sign")
        anew = sign(new_root(PROJECT, [second.public_key]), [second])
        refused(team.put([anew], sign(listing(2, "1.0"), [second])), 409, "changed meanwhile")

    def test_a_key_that_did_not_agree(self, bound: tuple[Publisher, Any, Any]) -> None:
        team, first, root = bound
        second = team.key("second", by="first")
        following = sign(new_root(PROJECT, [first.public_key, second.public_key], before=root.signed), [first])
        refused(team.put([following], sign(listing(2, "1.0"), [first])), 422, "did not agree to sign")

    def test_a_key_that_is_not_registered(self, bound: tuple[Publisher, Any, Any], tmp_path: Path) -> None:
        team, first, root = bound
        new_key(tmp_path / "hidden.pem")
        hidden = signer_of(tmp_path / "hidden.pem")
        following = sign(new_root(PROJECT, [hidden.public_key], before=root.signed), [first, hidden])
        refused(team.put([following], sign(listing(2, "1.0"), [hidden])), 422, "is not registered")

    def test_a_key_that_was_revoked(self, bound: tuple[Publisher, Any, Any]) -> None:
        team, first, _ = bound
        name = f"sha256:{first.public_key.keyid}"
        assert team.client.post(f"/api/v1/keys/{name}/revoke", headers=team.headers).status_code == 200
        refused(team.put([], sign(listing(2, "1.0"), [first])), 422, "was revoked")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"sha256": "0" * 64}, "is another file"),
            ({"size": 1}, "is another file"),
            ({"filename": "other-1.0-py3-none-any.whl"}, "was never uploaded"),
            ({"version": "9"}, "is another file"),
        ],
    )
    def test_a_release_that_is_not_here(
        self, bound: tuple[Publisher, Any, Any], change: dict[str, Any], words: str
    ) -> None:
        team, first, _ = bound
        refused(team.put([], sign(listing(2, "1.0", change=change), [first])), 422, words)

    def test_another_project(self, bound: tuple[Publisher, Any, Any], service: Service) -> None:
        team, first, root = bound
        shelf.put(service, "wind")
        path = "/api/v1/projects/cogen-plugin-wind/metadata"
        refused(team.put([root], sign(listing(1, "1.0"), [first]), path), 422, f"is of '{PROJECT}'")
        refused(
            team.put([], sign(listing(1), [first]), "/api/v1/projects/cogen-plugin-none/metadata"), 404, "no project"
        )

    def test_somebody_else(self, bound: tuple[Publisher, Any, Any], service: Service) -> None:
        team, first, _ = bound
        later = sign(listing(2, "1.0"), [first])
        refused(team.put([], later, **shelf.token(service, "rival")), 403, "belongs to another publisher")
        refused(team.put([], later, **shelf.token(service, "team", ["keys", "weights"])), 403, "no scope")
        body = {"targets": later.to_dict()}
        assert team.client.put(PATH, json=body).status_code == 401
        one = shelf.token(service, "team", [f"packages:{PROJECT}"])
        assert team.client.put(PATH, json=body, headers=one).status_code == 200

    def test_nonsense(self, bound: tuple[Publisher, Any, Any]) -> None:
        team, first, root = bound
        good = sign(listing(2, "1.0"), [first]).to_dict()
        deep: Any = {}
        for _ in range(50):
            deep = {"a": deep}
        bent: list[Any] = [{}, {"signed": {}}, {"signatures": [], "signed": deep}, root.to_dict()]
        for path, value in (
            (("signed", "version"), 2.5),
            (("signed", "version"), True),
            (("signed", "version"), -1),
            (("signed", "expires"), "soon"),
            (("signed", "expires"), "2020-01-01T00:00:00Z"),
            (("signed", "targets"), []),
            (("signed", "spec_version"), "99.0.0"),
            (("signed", "x"), 1e300),
            (("signatures",), [{"keyid": 1, "sig": ""}]),
            (("signed", "project"), ["a"]),
            (("signed", "delegations"), {"keys": {}, "roles": []}),
        ):
            one = copy.deepcopy(good)
            place = one
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            bent.append(one)
        for one in bent:
            answer = team.client.put(PATH, json={"targets": one}, headers=team.headers)
            assert answer.status_code == 422, (one, answer.text)
            if one == root.to_dict():
                continue  # the root that is there already is not an error
            answer = team.client.put(PATH, json={"targets": good, "roots": [one]}, headers=team.headers)
            assert answer.status_code in (409, 422), (one, answer.text)
        assert team.client.put(PATH, json={"targets": good}, headers=team.headers).status_code == 200


def test_a_further_key_needs_the_signature_of_the_first(team: Publisher, tmp_path: Path) -> None:
    first = team.key("first")
    pem = new_key(tmp_path / "x.pem")
    proof = prove_possession(tmp_path / "x.pem", "team")
    new_key(tmp_path / "stranger.pem")
    wrong = [
        None,
        prove_succession(tmp_path / "stranger.pem", "team", fingerprint(pem)),
        (f"sha256:{first.public_key.keyid}", prove_succession(tmp_path / "x.pem", "team", fingerprint(pem))[1]),
        prove_succession(tmp_path / "team-first.pem", "rival", fingerprint(pem)),
        prove_succession(tmp_path / "team-first.pem", "team", fingerprint(public_key(tmp_path / "stranger.pem"))),
        (f"sha256:{first.public_key.keyid}", "%%%"),
    ]
    for by in wrong:
        output: dict[str, Any] = {"pem": pem, "proof": proof}
        if by is not None:
            output["by"] = {"fingerprint": by[0], "proof": by[1]}
        refused(team.client.post("/api/v1/keys", json=output, headers=team.headers), 403, "sign")
    assert len(team.client.get("/api/v1/publishers/team").json()["keys"]) == 1
    assert team.key("second", by="first")
