"""Publishers' keys and identities as keys of TUF; the key id is the fingerprint without its ``sha256:``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, CryptoSigner, Key, Signature, SSlibKey
from securesystemslib.signer import Signer as TufSigner

from cogen.errors import CogenError
from cogen.trust.errors import TrustError
from cogen.trust.identities import REACH, Identity, IdentitySigner, check_signed, read_identity
from cogen.trust.keys import Signer, fingerprint, load_private, load_public, public_key

_TYPE, _SCHEME = "cogen-sigstore", "sigstore-bundle"


class IdentityKey(Key):
    """An identity of Sigstore. securesystemslib's own kind knows the public instance alone; ours obeys COGEN_SIGSTORE.

    The signature's field ``bundle`` holds Sigstore's bundle over the signed bytes.
    """

    def __init__(
        self, keyid: str, keytype: str, scheme: str, keyval: dict[str, Any], unknown: dict[str, Any] | None = None
    ) -> None:
        super().__init__(keyid, keytype, scheme, keyval, unknown)
        self.identity = Identity(str(keyval["identity"]), str(keyval["issuer"]))

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> IdentityKey:
        keytype, scheme, keyval = cls._from_dict(key_dict)
        return cls(keyid, keytype, scheme, keyval, key_dict)

    def to_dict(self) -> dict[str, Any]:
        return self._to_dict()

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        try:
            bundle = signature.unrecognized_fields["bundle"]
            check_signed(self.identity, data, json.dumps(bundle))
        except CogenError as error:
            if error.hint == REACH:  # nothing can be verified: that is not the signature's fault
                raise
            raise UnverifiedSignatureError(error.message) from error
        except Exception as error:
            raise VerificationError(f"no signature of {self.identity}") from error


KEY_FOR_TYPE_AND_SCHEME[_TYPE, _SCHEME] = IdentityKey


def key_of(public: str) -> Key:
    """The key of TUF for a public key in PEM, or an identity.

    :raises TrustError: it is neither.
    """
    keyid = fingerprint(public).removeprefix("sha256:")
    if identity := read_identity(public):
        return IdentityKey(keyid, _TYPE, _SCHEME, {"identity": identity.name, "issuer": identity.issuer})
    return SSlibKey.from_crypto(load_public(public), keyid=keyid)


def public_of(key: Key) -> str:
    """What :func:`key_of` was given: PEM, or an identity.

    :raises TrustError: it is a key of another kind, or its id is not its fingerprint: under two ids one key would count
        twice.
    """
    if isinstance(key, IdentityKey):
        public = key.identity.text
    elif isinstance(key, SSlibKey) and key.keytype == "ecdsa":
        public = str(key.keyval["public"])
    else:
        raise TrustError(f"keys of the kind {key.keytype} are not used here", hint="a newer CoGen may be needed")
    same = key_of(public)
    if same.keyid != key.keyid or same.scheme != key.scheme:
        raise TrustError("a key is not listed under its own fingerprint", hint="do not use it, and tell the operator")
    return public


class _IdentityTufSigner(TufSigner):
    def __init__(self, signer: IdentitySigner) -> None:
        self._signer = signer
        self._key = key_of(signer.identity().text)

    @property
    def public_key(self) -> Key:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        identity, bundle = self._signer.sign(payload)
        if key_of(identity.text).keyid != self._key.keyid:
            raise TrustError("the token is somebody else's now", hint="start again")
        document = json.loads(bundle)
        return Signature(self._key.keyid, document["messageSignature"]["signature"], {"bundle": document})

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> _IdentityTufSigner:
        raise NotImplementedError("identities have no file")


def signer_of(signer: Signer, password: str | None = None) -> TufSigner:
    """What signs documents of TUF: with the key in a file, or as an identity.

    :raises TrustError: it can't be used.
    """
    if isinstance(signer, IdentitySigner):
        return _IdentityTufSigner(signer)
    return file_signer(signer, password)


def file_signer(path: Path, password: str | None = None) -> CryptoSigner:
    """See :func:`signer_of`; for keys in files alone."""
    private = load_private(path, password)
    key = key_of(public_key(path, password))
    assert isinstance(key, SSlibKey)
    return CryptoSigner(private, key)
