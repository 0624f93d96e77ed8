"""Key pairs of publishers: elliptic curve P-256 in PEM files, made and kept without any network.

A key is named by its fingerprint, ``sha256:`` and the hex SHA-256 of its DER SubjectPublicKeyInfo; so does
``openssl ec -pubin -in key.pub -outform DER | sha256sum``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.trust.errors import TrustError
from cogen.trust.identities import IdentitySigner, check_proof, check_signed, read_identity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

#: The environment variable that holds the passphrase of a private key.
PASSWORD = "COGEN_KEY_PASSWORD"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
#: Said before the text that is signed, so that a signature for one purpose is worth nothing for another.
_POSSESSION = "cogen key possession 1"
_SUCCESSION = "cogen key succession 1"


def new_key(path: Path, password: str | None = None) -> str:
    """Write a fresh private key that only its owner can read, and its public half beside it as ``….pub``.

    :param password: encrypts the file (PKCS 8).
    :returns: the public key in PEM.
    :raises TrustError: there is a file already, or it can't be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = _pem(key.public_key())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # O_EXCL: a key that exists is never overwritten, also not by a second process at the same time.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".pub").write_text(public, encoding="ascii")
    except FileExistsError as error:
        raise TrustError(f"{path} exists already", hint="use it, or name another file with --key") from error
    except OSError as error:
        raise TrustError(f"{path} cannot be written: {error.strerror}", hint="name another file with --key") from error
    return public


def public_key(path: Path, password: str | None = None) -> str:
    """The public half of a private key, in PEM.

    :raises TrustError: no private key, a wrong passphrase, or a curve that is not P-256, P-384 or P-521.
    """
    return _pem(load_private(path, password).public_key())


def fingerprint(public_pem: str) -> str:
    """``sha256:`` + hex of the key's DER SubjectPublicKeyInfo, however the PEM was written; or of an identity.

    :raises TrustError: it is not a public key on a curve that can be used here, and no identity.
    """
    if identity := read_identity(public_pem):
        return identity.fingerprint
    key = load_public(public_pem)
    from cryptography.hazmat.primitives import serialization

    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(der).hexdigest()


#: What signs: the file of a private key, or somebody.
Signer = Path | IdentitySigner


def proven(signer: Signer, publisher: str, password: str | None = None) -> tuple[str, str]:
    """(public key or identity, proof that it is the publisher's), as a registry takes them.

    :raises TrustError: see :func:`public_key` and :meth:`IdentitySigner.prove`.
    """
    if isinstance(signer, IdentitySigner):
        identity, proof = signer.prove(publisher)
        return identity.text, proof
    return public_key(signer, password), prove_possession(signer, publisher, password)


def prove_possession(private_key: Path, publisher: str, password: str | None = None) -> str:
    """A signature (base64) that shows that whoever registers a key as ``publisher``'s holds its private half."""
    key = load_private(private_key, password)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    message = _possession(fingerprint(_pem(key.public_key())), publisher)
    return base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()


def check_possession(public_pem: str, publisher: str, proof: str) -> None:
    """:raises TrustError: ``proof`` was not made with this key, or by this identity, for this publisher."""
    if identity := read_identity(public_pem):
        check_proof(identity, publisher, proof)
        return
    public = load_public(public_pem)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        signature = base64.b64decode(proof, validate=True)
        public.verify(signature, _possession(fingerprint(public_pem), publisher), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError, TypeError) as error:
        raise TrustError(
            f"the proof was not made with this key for {publisher}", hint="register it with `cogen login`"
        ) from error


def prove_succession(signer: Signer, publisher: str, new: str, password: str | None = None) -> tuple[str, str]:
    """(fingerprint of ``signer``, its agreement that the key ``new`` signs for the publisher, too).

    :param new: the fingerprint of the other key. :raises TrustError: see :func:`proven`.
    """
    message = _succession(publisher, new)
    if isinstance(signer, IdentitySigner):
        identity, bundle = signer.sign(message)
        return identity.fingerprint, base64.b64encode(bundle.encode()).decode()
    key = load_private(signer, password)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    proof = base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()
    return fingerprint(_pem(key.public_key())), proof


def check_succession(public_pem: str, publisher: str, new: str, proof: str) -> None:
    """:raises TrustError: the owner of ``public_pem`` did not agree that ``new`` signs for the publisher."""
    message, wrong = _succession(publisher, new), "the key of before did not sign for the new one"
    try:
        signature = base64.b64decode(proof, validate=True)
        if identity := read_identity(public_pem):
            check_signed(identity, message, signature.decode())
            return
        public = load_public(public_pem)
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise TrustError(wrong, hint="`cogen key rotate` does it") from error
    except (ValueError, TypeError) as error:
        raise TrustError(wrong, hint="`cogen key rotate` does it") from error


def _succession(publisher: str, new: str) -> bytes:
    return f"{_SUCCESSION}\n{publisher}\n{new}\n".encode()


def _possession(key: str, publisher: str) -> bytes:
    return f"{_POSSESSION}\n{publisher}\n{key}\n".encode()


def load_private(path: Path, password: str | None) -> EllipticCurvePrivateKey:
    """:raises TrustError: see :func:`public_key`."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrustError(
            f"the key {path} cannot be read: {error.strerror}", hint="`cogen login URL --new-key` makes one"
        ) from error
    try:
        key = load_pem_private_key(data, password.encode() if password else None)
    except TypeError as error:  # a passphrase too few, or one too many
        problem = "is encrypted" if password is None else "has no passphrase"
        hint = f"give the passphrase as {PASSWORD}" if password is None else f"unset {PASSWORD}"
        raise TrustError(f"the key {path} {problem}", hint=hint) from error
    except Exception as error:
        hint = (
            f"check {PASSWORD}" if password else "name a private key in PEM, such as `cogen login URL --new-key` makes"
        )
        raise TrustError(f"{path} is not a private key that can be opened here", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise TrustError(
            f"the key {path} is not on the curve P-256", hint="`cogen login URL --new-key` makes one that is"
        )
    return key


def brief(public: str) -> str:
    """Who or what signed, for a line of a terminal: an identity, or the first digits of a key's fingerprint.

    :raises TrustError: see :func:`fingerprint`.
    """
    return str(read_identity(public) or f"{fingerprint(public)[:23]}…")


def plain(public: str) -> str:
    """A public key alone, or an identity, as everybody writes it: what stands around it is nobody's business.

    :raises TrustError: see :func:`fingerprint`.
    """
    identity = read_identity(public)
    return identity.text if identity else _pem(load_public(public))


def load_public(public_pem: str) -> EllipticCurvePublicKey:
    """:raises TrustError: see :func:`fingerprint`."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_pem.encode())
    except Exception as error:
        raise TrustError(
            "this is not a public key in PEM", hint="`openssl ec -in key.pem -pubout` writes one"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise TrustError(
            "this public key is not on the curve P-256", hint="`cogen login URL --new-key` makes one that is"
        )
    return key


def _pem(public: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode("ascii")
