"""The one place that knows model-signing: folders signed with a key, offline, or as an identity of Sigstore.

A bundle (Sigstore's JSON around a DSSE envelope) carries the list of files with their SHA-256 and how they were
listed. The library takes over from there which paths to ignore, so a signer could leave a file out and change it later;
and by its default configuration files of git are ignored too. Both are refused here, before the library looks.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from cogen.trust.errors import TrustError, one_line
from cogen.trust.identities import REACH, IdentitySigner, config_file, read_identity, trust
from cogen.trust.keys import Signer, load_private, load_public

#: The signature of a folder, inside of it; the only file that it does not cover.
SIGNATURE = "model.sig"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "https://model_signing/signature/v1.0"
#: A bundle holds about 200 bytes for every file.
_MAX_BUNDLE = 16 << 20


def sign_folder(folder: Path, signer: Signer, password: str | None = None) -> dict[str, Any]:
    """The bundle of a signature over every file in ``folder`` but ``model.sig``; nothing is written.

    :raises TrustError: the key can't be used, Sigstore doesn't sign, or the folder can't be signed (it holds a symbolic
        link, say).
    """
    hashing, signing, _ = _library()
    config = signing.Config()
    hint = "it may hold plain files only, no symbolic links"
    if isinstance(signer, IdentitySigner):
        trust()  # says in our words what is wrong with a configuration
        token, hint = signer.token(), f"{hint}; and {REACH}"
        try:
            config.use_sigstore_signer(identity_token=token, trust_config=config_file())
        except Exception as error:
            raise TrustError(f"Sigstore does not answer: {one_line(error)}", hint=REACH) from error
    else:
        load_private(signer, password)  # the same of a key
        config.use_elliptic_key_signer(private_key=signer, password=password.encode() if password else None)
    with tempfile.TemporaryDirectory(prefix="cogen-sign-") as place:
        bundle = Path(place) / "bundle.json"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                config.set_hashing_config(_config(hashing)).sign(folder, bundle)
            value: dict[str, Any] = json.loads(bundle.read_text(encoding="utf-8"))
        except Exception as error:
            raise TrustError(f"{folder} cannot be signed: {one_line(error)}", hint=hint) from error
    return value


def check_folder(folder: Path, bundle: dict[str, Any], public_pem: str) -> None:
    """Every file in ``folder`` (but ``model.sig``) is as it was signed, and none is missing or new.

    :param public_pem: the key that it was signed with, or the identity (:class:`~cogen.trust.identities.Identity`).
    :raises TrustError: otherwise; the message names the files that differ.
    """
    identity = read_identity(public_pem)
    if identity is None:
        load_public(public_pem)
    check_scope(bundle, named=identity is not None)
    hashing, _, verifying = _library()
    if identity is not None:
        trust()
    with tempfile.TemporaryDirectory(prefix="cogen-verify-") as place:
        pem, sig = Path(place) / "key.pub", Path(place) / "bundle.json"
        pem.write_text(public_pem, encoding="utf-8")
        sig.write_text(json.dumps(bundle), encoding="utf-8")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the library prints warnings; stdout is data
                config = verifying.Config()
                if identity is None:
                    config.use_elliptic_key_verifier(public_key=pem)
                else:
                    config.use_sigstore_verifier(
                        identity=identity.name, oidc_issuer=identity.issuer, trust_config=config_file()
                    )
                config.set_hashing_config(_config(hashing)).verify(folder, sig)
        except Exception as error:
            raise TrustError(f"the signature does not hold: {one_line(error)}", hint=_HINT) from error


_HINT = "it was altered, or signed by somebody else: do not use it, and ask its publisher"


def check_scope(bundle: dict[str, Any], *, named: bool = False) -> None:
    """The bundle is one signature over whole files, all of them.

    :param named: as an identity, not with a key.
    :raises TrustError: it leaves files out, follows links, or has another form.
    """
    try:
        if len(json.dumps(bundle)) > _MAX_BUNDLE:
            raise ValueError("it is too large")
        envelope = bundle["dsseEnvelope"]
        if envelope["payloadType"] != _PAYLOAD_TYPE or len(envelope["signatures"]) != 1:
            raise ValueError("it is not one signature of a model")
        material = bundle["verificationMaterial"]
        # Said before Sigstore's roots are fetched: a registry tries every key and identity of a publisher.
        if not (material["certificate"]["rawBytes"] if named else material["publicKey"]["hint"]):
            raise ValueError("it names no key")
        payload = json.loads(base64.b64decode(envelope["payload"], validate=True))
        if payload["predicateType"] != _PREDICATE:
            raise ValueError(f"it is a {payload['predicateType']}")
        how = payload["predicate"]["serialization"]
        ignored = {str(path) for path in how.get("ignore_paths", [])}
        if how["method"] != "files" or how["hash_type"] != "sha256" or how["allow_symlinks"] is not False:
            raise ValueError("it does not cover whole files by their SHA-256")
        names = [str(resource["name"]) for resource in payload["predicate"]["resources"]]
        if any(resource["algorithm"] != "sha256" for resource in payload["predicate"]["resources"]):
            raise ValueError("it does not cover whole files by their SHA-256")
    except Exception as error:
        problem = one_line(error) if type(error) is ValueError else "its form is unknown"
        raise TrustError(f"the signature cannot be read: {problem}", hint=_HINT) from error
    if ignored - {SIGNATURE} or len(set(names)) != len(names):
        left = ", ".join(sorted(ignored - {SIGNATURE})) or "files that are listed twice"
        raise TrustError(f"the signature leaves out {left}, which could be changed at any time", hint=_HINT)


def plain_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """What a check of a signature by a key reads of its bundle, written as it is written when it is made.

    Timestamps, log entries, an id of the key and stray characters around base64 are no part of what was signed: they
    are left out. Of an identity's bundle, whose certificate and log entries are checked, only the envelope changes.

    :raises TrustError: it has another form.
    """
    try:
        envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
        signature = {"sig": _plain_base64(envelope["signatures"][0]["sig"]), "keyid": ""}
        rewritten = {
            "payload": _plain_base64(envelope["payload"]),
            "payloadType": str(envelope["payloadType"]),
            "signatures": [signature, *envelope["signatures"][1:]],
        }
        if "certificate" in material:
            return bundle | {"dsseEnvelope": rewritten}
        return {
            "mediaType": str(bundle["mediaType"]),
            "verificationMaterial": {"publicKey": {"hint": str(material["publicKey"]["hint"])}, "tlogEntries": []},
            "dsseEnvelope": rewritten,
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise TrustError("the signature cannot be read: its form is unknown", hint=_HINT) from error


def _plain_base64(text: str) -> str:
    return base64.b64encode(base64.b64decode(text)).decode()


def _config(hashing: Any) -> Any:
    """The same for signing and checking, and never guessed from a signature."""
    return (
        hashing.Config()
        .use_file_serialization(hashing_algorithm="sha256")
        .set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    )


def _library() -> tuple[Any, Any, Any]:
    from model_signing import hashing, signing, verifying

    return hashing, signing, verifying
