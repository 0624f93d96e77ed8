"""Public keys of publishers: who adds one proves that it is theirs; a key that was taken back never comes again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from typing import Any

from sqlalchemy import func, select

from cogen_registry.auth import Principal
from cogen_registry.database.tables import Key, now
from cogen_registry.errors import Refused, missing
from cogen_registry.experts import models
from cogen_registry.service import Service

#: Seconds in which a challenge is to be signed.
_VALID = 600
#: Keys of one publisher, those that were revoked with them.
MOST = 50
#: Of this process: challenges of before a restart are worth nothing.
_SECRET = secrets.token_bytes(32)
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def challenge_for(principal: Principal, moment: float | None = None) -> str:
    """A line that only this process can have named, for this publisher, now."""
    text = f"cogen-registry key {principal.name} {int(time.time() if moment is None else moment)}"
    return f"{text} {hmac.new(_SECRET, text.encode(), hashlib.sha256).hexdigest()}"


def add(service: Service, principal: Principal, new: models.NewKey) -> tuple[models.PublicKey, bool]:
    """Add a key after its proof; the same again is the same. (the key, is it new?)

    :raises Refused: 409, 422, 429
    """
    _check_challenge(principal, new.challenge)
    key, fingerprint, pem = read_key(new.pem)
    _check_proof(key, new.challenge.encode(), new.proof)
    with service.sessions.write() as session:
        known = session.scalar(select(Key).where(Key.fingerprint == fingerprint))
        if known is not None and (known.publisher_id != principal.id or known.revoked):
            raise Refused(409, "this key was revoked, or is another publisher's", hint="make a new one")
        if known is None:
            if (session.scalar(select(func.count()).where(Key.publisher_id == principal.id)) or 0) >= MOST:
                raise Refused(429, f"{principal.name} has {MOST} keys already", hint="ask the registry's operator")
            key = Key(publisher_id=principal.id, fingerprint=fingerprint, pem=pem)
            session.add(key)
            session.flush()
        answer = models.PublicKey.model_validate(known or key, from_attributes=True)
    if known is None:
        service.changed()
    return answer, known is None


def revoke(service: Service, principal: Principal, fingerprint: str) -> models.PublicKey:
    """Take a key back, for ever. What it signed stays there and says so.

    :raises Refused: 404, it is none of this publisher's.
    """
    with service.sessions.write() as session:
        key = session.scalar(select(Key).where(Key.fingerprint == fingerprint, Key.publisher_id == principal.id))
        if key is None:
            raise missing(f"key {fingerprint!r} of {principal.name}")
        key.revoked = key.revoked or now()
        answer = models.PublicKey.model_validate(key, from_attributes=True)
    service.changed()
    return answer


def read_key(pem: str) -> tuple[Any, str, str]:
    """(key, fingerprint, its PEM as everybody writes it).

    :raises Refused: 422, it is no public key on one of the curves of model-signing.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise Refused(
            422, "this is no PEM of a public key on P-256, P-384 or P-521",
            hint="openssl ec -in private.pem -pubout -out public.pem",
        )  # fmt: skip
    plain = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return key, "sha256:" + hashlib.sha256(plain).hexdigest(), text


def _check_challenge(principal: Principal, challenge: str) -> None:
    match = re.fullmatch(r"cogen-registry key [a-z0-9-]+ (\d{1,12}) [0-9a-f]{64}", challenge)
    named = challenge_for(principal, int(match[1])) if match else ""
    if not match or not hmac.compare_digest(named, challenge) or time.time() - int(match[1]) > _VALID:
        raise Refused(
            422, "this challenge was not named by this registry, or not for you, or too long ago",
            hint="GET /api/v1/keys/challenge, sign what it says, and send it within ten minutes",
        )  # fmt: skip


def _check_proof(key: Any, message: bytes, proof: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(base64.b64decode(proof, validate=True), message, ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        raise Refused(
            422, "the proof is not the challenge signed with this key",
            hint="printf %s CHALLENGE | openssl dgst -sha256 -sign private.pem | base64 -w0",
        ) from None  # fmt: skip
