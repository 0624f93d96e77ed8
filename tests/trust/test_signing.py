"""Keys, statements and signed folders: what holds, and every way in which it must not."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cogen import trust
from cogen.trust import TrustError
from cogen.trust.signing import check_scope, plain_bundle

STATEMENT = {
    "schema": 1,
    "project": "cogen-plugin-x",
    "version": "1.0",
    "filename": "cogen_plugin_x-1.0-py3-none-any.whl",
    "sha256": "ab" * 32,
    "size": 10,
    "publisher": "acme",
    "signed": "2026-01-01T00:00:00Z",
    "experts": [
        {
            "id": "x",
            "spec_digest": "sha256:" + "cd" * 32,
            "weights": {"source": "hf://acme/x", "revision": "ef" * 20, "file_digest": "sha256:" + "12" * 32},
        }
    ],
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    trust.new_key(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    (place / "deep").mkdir(parents=True)
    (place / "model.safetensors").write_bytes(bytes(range(64)))
    (place / "deep" / "config.json").write_text("{}")
    return place


def payload(bundle: dict[str, Any]) -> dict[str, Any]:
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


def with_payload(bundle: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    changed = deepcopy(bundle)
    changed["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(value).encode()).decode()
    return changed


def test_a_key_is_its_owners_alone_and_never_overwritten(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    with pytest.raises(TrustError, match="exists already"):
        trust.new_key(key)
    assert key.read_bytes() == before
    assert key.with_suffix(".pub").read_text() == trust.public_key(key)


def test_fingerprint_is_of_the_der_form_however_the_pem_is_written(key: Path) -> None:
    pem = trust.public_key(key)
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    expected = "sha256:" + hashlib.sha256(der).hexdigest()
    assert trust.fingerprint(pem) == expected
    assert trust.fingerprint("\n\n" + pem.replace("\n", "\r\n")) == expected


def test_openssl_reads_the_key_and_finds_the_same_fingerprint(key: Path) -> None:
    der = subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True)
    assert trust.fingerprint(trust.public_key(key)) == "sha256:" + hashlib.sha256(der.stdout).hexdigest()


def test_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    pem = trust.new_key(path, "secret")
    assert trust.public_key(path, "secret") == pem
    trust.check_statement(STATEMENT, trust.sign_statement(STATEMENT, path, "secret"), pem)
    for password, message in ((None, "encrypted"), ("wrong", "cannot be opened|can be opened")):
        with pytest.raises(TrustError, match=message) as caught:
            trust.sign_statement(STATEMENT, path, password)
        assert caught.value.hint


def test_a_passphrase_for_a_key_without_one(key: Path) -> None:
    with pytest.raises(TrustError, match="has no passphrase"):
        trust.public_key(key, "secret")


@pytest.mark.parametrize("other", ["rsa", "secp256k1"])
def test_other_kinds_of_keys_are_refused(tmp_path: Path, other: str) -> None:
    made = rsa.generate_private_key(65537, 2048) if other == "rsa" else ec.generate_private_key(ec.SECP256K1())
    path = tmp_path / "key.pem"
    path.write_bytes(
        made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(TrustError, match="P-256"):
        trust.public_key(path)
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TrustError, match="P-256"):
        trust.fingerprint(public.decode())
    with pytest.raises(TrustError, match="not a public key"):
        trust.fingerprint("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")


def test_possession_is_of_one_key_for_one_publisher(key: Path, tmp_path: Path) -> None:
    proof = trust.prove_possession(key, "acme")
    trust.check_possession(trust.public_key(key), "acme", proof)
    other = trust.new_key(tmp_path / "other.pem")
    for pem, name, text in (
        (other, "acme", proof),
        (trust.public_key(key), "acme-2", proof),
        (trust.public_key(key), "acme", "AAAA"),
        (trust.public_key(key), "acme", "ä"),
        (trust.public_key(key), "acme", ""),
    ):
        with pytest.raises(TrustError):
            trust.check_possession(pem, name, text)


def test_a_statement_holds_in_any_order_of_its_keys(key: Path) -> None:
    bundle = trust.sign_statement(STATEMENT, key)
    pem = trust.public_key(key)
    trust.check_statement(STATEMENT, bundle, pem)
    trust.check_statement(dict(reversed(STATEMENT.items())), json.loads(json.dumps(bundle)), pem)


@pytest.mark.parametrize(
    ("field", "value"),
    [("version", "1.1"), ("project", "cogen-plugin-y"), ("sha256", "00" * 32), ("publisher", "evil"), ("size", 11)],
)
def test_a_changed_statement_is_refused(key: Path, field: str, value: object) -> None:
    bundle = trust.sign_statement(STATEMENT, key)
    with pytest.raises(TrustError, match="not the one that was signed"):
        trust.check_statement(STATEMENT | {field: value}, bundle, trust.public_key(key))


@pytest.mark.parametrize("change", [{"schema": 2}, {"sha256": "x"}, {"experts": [{}]}, {"more": 1}, {"size": "10"}])
def test_a_statement_of_another_form_is_neither_signed_nor_accepted(key: Path, change: dict[str, Any]) -> None:
    bundle = trust.sign_statement(STATEMENT, key)
    with pytest.raises(TrustError, match="cannot be read"):
        trust.sign_statement(STATEMENT | change, key)
    with pytest.raises(TrustError, match="cannot be read"):
        trust.check_statement(STATEMENT | change, bundle, trust.public_key(key))


def test_another_key_is_refused(key: Path, tmp_path: Path) -> None:
    bundle = trust.sign_statement(STATEMENT, key)
    other = trust.new_key(tmp_path / "other.pem")
    with pytest.raises(TrustError, match="does not hold"):
        trust.check_statement(STATEMENT, bundle, other)
    # ... also where the bundle claims the other key
    hint = hashlib.sha256(other.encode()).hexdigest()
    bundle["verificationMaterial"]["publicKey"]["hint"] = hint
    with pytest.raises(TrustError, match="does not hold"):
        trust.check_statement(STATEMENT, bundle, other)


@pytest.mark.parametrize(
    "garbage",
    [{}, {"dsseEnvelope": None}, {"dsseEnvelope": {"payload": "!", "payloadType": "x", "signatures": []}}, {"a": 1e9}],
)
def test_garbage_is_refused(key: Path, garbage: dict[str, Any]) -> None:
    with pytest.raises(TrustError, match="cannot be read"):
        trust.check_statement(STATEMENT, garbage, trust.public_key(key))


def test_every_change_of_a_folder_is_found(key: Path, folder: Path) -> None:
    pem, bundle = trust.public_key(key), trust.sign_folder(folder, key)
    trust.check_folder(folder, bundle, pem)
    (folder / "model.sig").write_text(json.dumps(bundle))
    trust.check_folder(folder, bundle, pem)  # the signature itself is the one file that it does not cover
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(reversed(range(64))))
    with pytest.raises(TrustError, match=r"model\.safetensors"):
        trust.check_folder(folder, bundle, pem)
    weights.write_bytes(bytes(range(64)))
    for name in (".gitattributes", ".git/config", "deep/more.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        with pytest.raises(TrustError, match=name):
            trust.check_folder(folder, bundle, pem)
        (folder / name).unlink()
    trust.check_folder(folder, bundle, pem)
    weights.rename(folder / "deep" / "model.safetensors")
    with pytest.raises(TrustError, match="Missing"):
        trust.check_folder(folder, bundle, pem)


def test_links_are_neither_signed_nor_accepted(key: Path, folder: Path, tmp_path: Path) -> None:
    bundle = trust.sign_folder(folder, key)
    (tmp_path / "outside").write_bytes(bytes(range(64)))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "outside")
    with pytest.raises(TrustError):
        trust.check_folder(folder, bundle, trust.public_key(key))
    with pytest.raises(TrustError, match="cannot be signed"):
        trust.sign_folder(folder, key)


def test_a_signer_cannot_leave_files_out(key: Path, folder: Path) -> None:
    """The library takes ignore_paths over from the payload; a file that it names could be changed after signing."""
    from model_signing import hashing, signing

    (folder / "evil.json").write_text("1")
    config = hashing.Config().use_file_serialization().set_ignored_paths(paths=["evil.json"], ignore_git_paths=False)
    signed = folder.parent / "bundle.json"
    signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(config).sign(folder, signed)
    bundle = json.loads(signed.read_text())
    with pytest.raises(TrustError, match=r"leaves out .*evil\.json"):
        trust.check_folder(folder, bundle, trust.public_key(key))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "shards", "shard_size": 10},
        {"hash_type": "blake2"},
        {"allow_symlinks": True},
        {"allow_symlinks": "false"},
        {"ignore_paths": ["model.sig", ".git"]},
    ],
)
def test_scope_of_a_bundle(key: Path, folder: Path, change: dict[str, Any]) -> None:
    bundle = trust.sign_folder(folder, key)
    check_scope(bundle)
    value = payload(bundle)
    value["predicate"]["serialization"] |= change
    with pytest.raises(TrustError):
        check_scope(with_payload(bundle, value))


def test_bundles_of_old_forms_are_refused(key: Path, folder: Path) -> None:
    bundle = trust.sign_folder(folder, key)
    value = payload(bundle) | {"predicateType": "https://model_signing/Digests/v0.1"}
    with pytest.raises(TrustError, match=r"v0\.1"):
        check_scope(with_payload(bundle, value))
    unnamed = deepcopy(bundle)
    unnamed["verificationMaterial"]["publicKey"]["hint"] = ""
    with pytest.raises(TrustError, match="names no key"):
        check_scope(unnamed)


def test_importing_is_lazy() -> None:
    code = (
        "import sys; import cogen.trust as t\n"
        "print(sorted({'model_signing', 'cryptography', 'torch', 'requests', 'sigstore', 'tuf'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_plain_bundle_says_the_same(key: Path, folder: Path) -> None:
    """What is not signed is left out, and what is left still holds; a bundle as it is made stays as it is."""
    public = trust.public_key(key)
    bundle = trust.sign_folder(folder, key)
    assert plain_bundle(bundle) == bundle
    loud = deepcopy(bundle)
    loud["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": "UXVpbGw="}]}
    signature = loud["dsseEnvelope"]["signatures"][0]
    signature |= {"keyid": "Quill", "sig": signature["sig"] + "\n"}
    assert plain_bundle(loud) == bundle
    trust.check_folder(folder, plain_bundle(loud), public)
    for wrong in ({}, {"dsseEnvelope": 1}, bundle | {"verificationMaterial": {}}, bundle | {"dsseEnvelope": {}}):
        with pytest.raises(TrustError, match="its form is unknown"):
            plain_bundle(wrong)


def test_an_error_does_not_repeat_what_was_sent(key: Path, folder: Path) -> None:
    """pydantic prints the values that it refuses; a secret in the wrong place would stand in an answer or a log."""
    bundle = trust.sign_folder(folder, key) | {"note": "s3cret"}
    with pytest.raises(TrustError) as refused:
        trust.check_folder(folder, bundle, trust.public_key(key))
    assert refused.value.message == "the signature does not hold: it does not have the form of a Sigstore bundle"
