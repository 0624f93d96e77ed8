"""Identities of Sigstore, on one of our own: its client signs and verifies as it would with the public one."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jwt
import pytest
import sigstore.sign as library
from support.sigstore import Sigstore, b64, running

from cogen.trust import (
    Identity,
    IdentitySigner,
    TrustError,
    brief,
    check_folder,
    check_possession,
    check_statement,
    fingerprint,
    new_key,
    plain,
    proven,
    public_key,
    read_identity,
    sign_folder,
    sign_statement,
)
from cogen.trust.identities import CONFIG, TOKEN

ALICE, WORKFLOW = "alice@example.org", "https://github.com/utility/models/.github/workflows/publish.yml@refs/tags/v1"
ISSUER = "https://login.example.org"
STATEMENT = {
    "schema": 1,
    "project": "cogen-plugin-power",
    "version": "1.0",
    "filename": "cogen_plugin_power-1.0-any.whl",
    "sha256": "0" * 64,
    "size": 5,
    "publisher": "utility",
    "experts": [],
    "signed": "2026-11-27T00:00:00Z",
}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sigstore, Path]]:
    with running(tmp_path_factory.mktemp("sigstore")) as ours:
        yield ours


@pytest.fixture
def sigstore(started: tuple[Sigstore, Path], monkeypatch: pytest.MonkeyPatch) -> Sigstore:
    ours, file = started
    monkeypatch.setenv(CONFIG, str(file))
    monkeypatch.delenv(TOKEN, raising=False)
    ours.age = ours.late = 0.0
    return ours


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "weights"
    place.mkdir()
    (place / "model.safetensors").write_bytes(b"weights")
    (place / "config.json").write_text("{}")
    return place


@pytest.mark.parametrize("name", [ALICE, WORKFLOW])
def test_what_somebody_signed_holds_for_them_alone(sigstore: Sigstore, folder: Path, name: str) -> None:
    """Folder, statement and proof; as another name, and as the same name of another issuer, none of it does."""
    signer = IdentitySigner(sigstore.token(name))
    public, proof = proven(signer, "utility")
    assert read_identity(public) == Identity(name, ISSUER)
    bundle, signed = sign_folder(folder, signer), sign_statement(STATEMENT, signer)
    check_possession(public, "utility", proof)
    check_folder(folder, bundle, public)
    check_statement(STATEMENT, signed, public)
    for other in (Identity("mallory@example.org", ISSUER), Identity(name, "https://other.example.org")):
        with pytest.raises(TrustError, match="was not made by"):
            check_possession(other.text, "utility", proof)
        with pytest.raises(TrustError, match="does not hold"):
            check_folder(folder, bundle, other.text)
        with pytest.raises(TrustError, match="does not hold"):
            check_statement(STATEMENT, signed, other.text)
    with pytest.raises(TrustError, match="for hospital"):
        check_possession(public, "hospital", proof)
    with pytest.raises(TrustError, match="not the one that was signed"):
        check_statement(STATEMENT | {"size": 6}, signed, public)


@pytest.mark.parametrize("change", ["altered", "added", "removed"])
def test_a_folder_that_changed(sigstore: Sigstore, folder: Path, change: str) -> None:
    public = Identity(ALICE, ISSUER).text
    bundle = sign_folder(folder, IdentitySigner(sigstore.token(ALICE)))
    check_folder(folder, bundle, public)
    if change == "altered":
        (folder / "model.safetensors").write_bytes(b"Weights")
    elif change == "added":
        (folder / "more.json").write_text("{}")
    else:
        (folder / "config.json").unlink()
    with pytest.raises(TrustError, match="does not hold"):
        check_folder(folder, bundle, public)


def _payload(bundle: dict[str, Any]) -> None:
    envelope = bundle["dsseEnvelope"]
    envelope["payload"] = b64(base64.b64decode(envelope["payload"]).replace(b"config.json", b"config.jsom"))


def _signature(bundle: dict[str, Any]) -> None:
    (one,) = bundle["dsseEnvelope"]["signatures"]
    raw = bytearray(base64.b64decode(one["sig"]))
    raw[-1] ^= 1
    one["sig"] = b64(bytes(raw))


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


def _time(bundle: dict[str, Any]) -> None:
    _entry(bundle)["integratedTime"] = str(int(_entry(bundle)["integratedTime"]) + 60)


def _promise(bundle: dict[str, Any]) -> None:
    del _entry(bundle)["inclusionPromise"]


def _proof(bundle: dict[str, Any]) -> None:
    _entry(bundle)["inclusionProof"]["rootHash"] = b64(b"0" * 32)


def _no_entry(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = []


def _no_certificate(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = ""


@pytest.mark.parametrize("alter", [_payload, _signature, _time, _promise, _proof, _no_entry, _no_certificate])
def test_a_bundle_that_changed(sigstore: Sigstore, folder: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    bundle = sign_folder(folder, IdentitySigner(sigstore.token(ALICE)))
    other = copy.deepcopy(bundle)
    alter(other)
    assert other != bundle
    with pytest.raises(TrustError, match=r"does not hold|cannot be read") as caught:
        check_folder(folder, other, Identity(ALICE, ISSUER).text)
    assert "\n" not in caught.value.message
    check_folder(folder, bundle, Identity(ALICE, ISSUER).text)


def test_the_certificate_or_the_entry_of_somebody_else(sigstore: Sigstore, folder: Path) -> None:
    """Each is good where it belongs."""
    mine, theirs = (
        sign_folder(folder, IdentitySigner(sigstore.token(name))) for name in (ALICE, "mallory@example.org")
    )
    for part in ("certificate", "tlogEntries"):
        mixed = copy.deepcopy(theirs)
        mixed["verificationMaterial"][part] = mine["verificationMaterial"][part]
        with pytest.raises(TrustError, match="does not hold"):
            check_folder(folder, mixed, Identity(ALICE, ISSUER).text)


def test_roots_of_another_sigstore(
    sigstore: Sigstore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = sign_folder(folder, IdentitySigner(sigstore.token(ALICE)))
    with running(tmp_path) as (_, file):
        monkeypatch.setenv(CONFIG, str(file))
        with pytest.raises(TrustError, match="does not hold"):
            check_folder(folder, bundle, Identity(ALICE, ISSUER).text)


def test_a_signature_lasts_longer_than_its_certificate(sigstore: Sigstore, folder: Path) -> None:
    """It counts that the certificate was valid when the log took the entry."""
    sigstore.age = 3600.0
    check_folder(folder, signed_then(sigstore, folder), Identity(ALICE, ISSUER).text)
    sigstore.late = 1200.0  # the certificate was valid for ten minutes
    with pytest.raises(TrustError, match="does not hold"):
        check_folder(folder, signed_then(sigstore, folder), Identity(ALICE, ISSUER).text)


def signed_then(sigstore: Sigstore, folder: Path) -> dict[str, Any]:
    """By a client whose clock stands where Sigstore's does: today's would not sign with such a certificate."""
    with mock.patch.object(library, "datetime") as clock:
        clock.now.return_value = sigstore.now()
        return sign_folder(folder, IdentitySigner(sigstore.token(ALICE)))


def test_keys_and_identities_are_distinct(
    sigstore: Sigstore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a key signed never holds for an identity, nor the other way round."""
    key = tmp_path / "key.pem"
    new_key(key)
    pem, text = public_key(key), Identity(ALICE, ISSUER).text
    by_key, by_name = sign_folder(folder, key), sign_folder(folder, IdentitySigner(sigstore.token(ALICE)))
    check_folder(folder, by_key, pem)
    monkeypatch.setenv(CONFIG, str(tmp_path / "none"))  # nobody looks for roots where they would not help
    for bundle, public in ((by_key, text), (by_name, pem)):
        with pytest.raises(TrustError, match="the signature cannot be read"):
            check_folder(folder, bundle, public)
    assert fingerprint(text) == Identity(ALICE, ISSUER).fingerprint == fingerprint(f" {text}\n")
    assert fingerprint(text) != fingerprint(Identity(ALICE, f"{ISSUER}/").text)
    assert plain(f' {{"issuer": "{ISSUER}",\n "identity": "{ALICE}"}}') == text
    assert plain(f"someone's\n{pem}") == pem
    assert brief(text) == f"{ALICE} ({ISSUER})"
    assert brief(pem) == f"{fingerprint(pem)[:23]}…"
    assert read_identity(pem) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"identity":"a"}',
        '{"identity":"a","issuer":""}',
        '{"identity":"a","issuer":"b","more":"c"}',
        '{"identity":1,"issuer":"b"}',
        '{"identity":"a\\nb","issuer":"b"}',
        "{" * 9999,
        '{"identity":"' + "a" * 501 + '","issuer":"b"}',
    ],
)
def test_what_is_no_identity(text: str) -> None:
    with pytest.raises(TrustError):
        fingerprint(text)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("nonsense", "no identity is available"),
        ("expired", "no identity is available"),
        ("forged", "Sigstore signing failed"),
    ],
)
def test_tokens_that_are_worth_nothing(sigstore: Sigstore, token: str, reason: str) -> None:
    claims = {"iss": ISSUER, "sub": ALICE, "aud": "sigstore", "iat": 1, "exp": 4_000_000_000}
    tokens = {
        "nonsense": "nonsense",
        "expired": sigstore.token(ALICE, seconds=-60),
        "forged": jwt.encode(claims, "a guess of at least thirty-two bytes", "HS256"),
    }
    with pytest.raises(TrustError, match=reason) as caught:
        IdentitySigner(tokens[token]).prove("utility")
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_the_token_of_the_environment(sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, sigstore.token(ALICE))
    assert IdentitySigner().prove("utility")[0] == Identity(ALICE, ISSUER)


def test_a_sigstore_that_is_not_there(
    sigstore: Sigstore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as (gone, file):
        token = gone.token(ALICE)
    monkeypatch.setenv(CONFIG, str(file))
    for act in (lambda: IdentitySigner(token).prove("utility"), lambda: sign_folder(folder, IdentitySigner(token))):
        with pytest.raises(TrustError, match=r"signing failed|does not answer"):
            act()
    monkeypatch.setenv(CONFIG, str(tmp_path / "none.json"))
    with pytest.raises(TrustError, match=r"none\.json cannot be used"):
        IdentitySigner(token).prove("utility")
