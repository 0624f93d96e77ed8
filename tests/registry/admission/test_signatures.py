"""Signed statements: exactly about the release, by a key of its publisher."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.wheels import build

from cogen.trust import fingerprint, make_statement, new_key, sign_statement
from cogen_registry.admission.signatures import expected, sign
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Key, Release, now
from cogen_registry.errors import Refused
from cogen_registry.service import Service

Publishers = Callable[..., Principal]
Upload = Callable[..., Release]


class Signing:
    """One uploaded release, and what its publisher would sign."""

    def __init__(self, service: Service, team: Principal, path: Path, release: Release, home: Path) -> None:
        self.service, self.team, self.home, self.release = service, team, home, release
        with service.sessions.read() as session:
            from cogen.spec.expert import ExpertSpec

            row = session.get(Release, release.id)
            assert row is not None
            self.statement = make_statement(
                path, team.name, [ExpertSpec.model_validate(one.spec) for one in row.experts]
            )
            assert expected(row) == {name: self.statement[name] for name in self.statement if name != "signed"}

    def key(self, name: str = "key", owner: Principal | None = None) -> Path:
        """A key that is registered."""
        path = self.home / f"{name}.pem"
        pem = new_key(path)
        with self.service.sessions.write() as session:
            session.add(Key(publisher_id=(owner or self.team).id, fingerprint=fingerprint(pem), pem=pem))
        return path

    def revoke(self) -> None:
        with self.service.sessions.write() as session:
            for key in session.query(Key):
                key.revoked = now()

    def sign(self, bundle: dict[str, Any], statement: Any = None, principal: Principal | None = None) -> None:
        sign(self.service, principal or self.team, "cogen-plugin-power", "1.0", statement or self.statement, bundle)

    def stored(self) -> tuple[Any, Any, Any]:
        with self.service.sessions.read() as session:
            row = session.get(Release, self.release.id)
            assert row is not None
            return row.statement, row.bundle, row.key


@pytest.fixture
def signing(service: Service, publisher: Publishers, upload: Upload, tmp_path: Path) -> Signing:
    team, path = publisher(), build(tmp_path)
    return Signing(service, team, path, upload(team, path), tmp_path)


def test_a_signature_of_a_registered_key_is_kept(signing: Signing) -> None:
    key = signing.key()
    signing.key("another")
    bundle = sign_statement(signing.statement, key)
    before = signing.service.serial
    signing.sign(bundle)
    kept = signing.statement, bundle, fingerprint(key.with_suffix(".pub").read_text())
    assert signing.stored() == kept
    assert signing.service.serial == before + 1
    signing.sign(bundle)
    with pytest.raises(Refused, match="is signed already") as refused:
        signing.sign(sign_statement(signing.statement, signing.home / "another.pem"))
    assert refused.value.status == 409
    assert signing.stored() == kept


def test_a_signature_of_a_revoked_key_can_be_replaced(signing: Signing) -> None:
    signing.sign(sign_statement(signing.statement, signing.key()))
    signing.revoke()
    bundle = sign_statement(signing.statement, key := signing.key("second"))
    signing.sign(bundle)
    assert signing.stored()[1:] == (bundle, fingerprint(key.with_suffix(".pub").read_text()))


def other(statement: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(statement) | changes


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"project": "cogen-plugin-wind"}, "project"),
        ({"version": "0.9"}, "version"),
        ({"size": 1}, "size"),
        ({"filename": "cogen_plugin_power-0.9-py3-none-any.whl"}, "filename"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"publisher": "other"}, "publisher"),
        ({"experts": []}, "experts"),
        ({"more": 1}, "more"),
        ({"schema": 2}, "schema"),
        ({"schema": True}, "schema"),
        ({"experts": "x"}, "experts"),
    ],
)
def test_a_statement_about_something_else_is_refused(signing: Signing, changes: dict[str, Any], field: str) -> None:
    """An old wheel's statement, say, or one that was made for another registry's publisher."""
    bundle = sign_statement(signing.statement, signing.key())
    with pytest.raises(Refused, match=f"and the release differ in {field}") as refused:
        signing.sign(bundle, other(signing.statement, **changes))
    assert refused.value.status == 400
    assert signing.stored() == (None, None, None)


@pytest.mark.parametrize("field", ["spec_digest", "source", "file_digest", "revision"])
def test_a_statement_about_other_weights_is_refused(signing: Signing, field: str) -> None:
    statement = other(signing.statement)
    expert = statement["experts"][0]
    (expert if field == "spec_digest" else expert["weights"])[field] = "sha256:" + "0" * 64
    with pytest.raises(Refused, match="and the release differ in experts"):
        signing.sign(sign_statement(statement, signing.key()), statement)


@pytest.mark.parametrize(
    "moment", [None, 5, "", "yesterday", "2026-11-26T10:00:00", "2999-01-01T00:00:00Z", "20261126"]
)
def test_a_statement_says_when_it_was_signed(signing: Signing, moment: Any) -> None:
    bundle = sign_statement(signing.statement, signing.key())
    with pytest.raises(Refused, match="does not say when it was signed"):
        signing.sign(bundle, other(signing.statement, signed=moment))


def test_a_forged_signature_is_refused(signing: Signing, publisher: Publishers) -> None:
    """By a key that nobody registered, that another publisher did, that was revoked, or over other words."""
    stranger = signing.home / "stranger.pem"
    new_key(stranger)
    with pytest.raises(Refused, match="no key is registered"):
        signing.sign(sign_statement(signing.statement, stranger))
    foreign = signing.key("foreign", publisher("other"))
    own = signing.key()
    altered = sign_statement(other(signing.statement, signed="2026-11-20T00:00:00Z"), own)
    for bundle in (
        sign_statement(signing.statement, stranger),
        sign_statement(signing.statement, foreign),
        altered,
        {},
        {"x": 1},
    ):
        with pytest.raises(Refused, match="no registered key signed this") as refused:
            signing.sign(bundle)
        assert refused.value.status == 400
    bundle = sign_statement(signing.statement, own)
    signing.revoke()
    with pytest.raises(Refused, match="no key is registered"):
        signing.sign(bundle)
    assert signing.stored() == (None, None, None)


def test_only_its_owner_signs_a_release(signing: Signing, publisher: Publishers) -> None:
    stranger = publisher("other")
    statement = other(signing.statement, publisher="other")
    bundle = sign_statement(statement, signing.key("foreign", stranger))
    with pytest.raises(Refused, match="belongs to another publisher") as refused:
        signing.sign(bundle, statement, stranger)
    assert refused.value.status == 403
    with pytest.raises(Refused, match="no scope"):
        signing.sign(bundle, principal=publisher("team", "weights"))
