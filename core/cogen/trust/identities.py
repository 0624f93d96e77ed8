"""Signing as somebody, by Sigstore, instead of with a key: an e-mail address or a workflow that an issuer vouches for.

Who signs shows a token of the issuer to Fulcio, which certifies a fresh key for ten minutes; what is signed is written
into the public log Rekor, and the bundle carries certificate and entry. Verifying needs only the roots of that
Sigstore: of the public one, which the library fetches by TUF, or of an organisation's own (:data:`CONFIG`).

Wherever a public key in PEM stands, an identity may stand in its place, as ``{"identity":"…","issuer":"…"}``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.settings import settings
from cogen.trust.errors import TrustError, one_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: The environment variable that names a trust configuration in JSON (``ClientTrustConfig``), of a Sigstore of your own.
CONFIG = "COGEN_SIGSTORE"
#: The one with an OIDC token, as Sigstore's own command reads it.
TOKEN = "SIGSTORE_IDENTITY_TOKEN"
_POSSESSION = "cogen identity possession 1"
_LONGEST = 500
#: Fulcio's extension with the issuer, as bare bytes: the one that Sigstore's policy reads.
_ISSUER = "1.3.6.1.4.1.57264.1.1"


@dataclass(frozen=True)
class Identity:
    """Who an issuer says that somebody is."""

    name: str
    issuer: str

    @property
    def text(self) -> str:
        """What stands in the place of a public key."""
        return json.dumps({"identity": self.name, "issuer": self.issuer}, separators=(",", ":"), ensure_ascii=False)

    @property
    def fingerprint(self) -> str:
        """``sha256:`` and the hex digest of :attr:`text`."""
        return "sha256:" + hashlib.sha256(self.text.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.name} ({self.issuer})"


def read_identity(public: str) -> Identity | None:
    """``None``: it is a key in PEM, or nothing at all.

    :raises TrustError: it begins like an identity and is none.
    """
    if not public.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(public)
        found = Identity(document.pop("identity"), document.pop("issuer"))
        for part in (found.name, found.issuer):
            if not isinstance(part, str) or not 0 < len(part) <= _LONGEST or not part.isprintable():
                raise ValueError
        if document:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TrustError(
            "this is not an identity of Sigstore", hint='it looks like {"identity": "…", "issuer": "…"}'
        ) from error
    return found


class IdentitySigner:
    """Stands where the path of a private key could.

    :param token: an OIDC token; left out: the environment's (:data:`TOKEN`), that of the CI this runs in, or one that a
        browser is opened for.
    """

    def __init__(self, token: str | None = None) -> None:
        self._given = token
        self._token: Any = None
        self._known: Identity | None = None

    def token(self) -> str:
        """A token that is valid now.

        :raises TrustError: there is none, or it is no longer valid.
        """
        from sigstore.oidc import IdentityToken, Issuer, detect_credential

        if self._token is None or not self._token.in_validity_period():
            try:
                raw = self._given or os.environ.get(TOKEN) or detect_credential()
                if raw:
                    self._token = IdentityToken(raw)
                else:
                    self._token = Issuer(trust().signing_config.get_oidc_url()).identity_token()
            except TrustError:
                raise
            except Exception as error:
                hint = f"{TOKEN} holds a token for the audience sigstore; without one a browser is opened"
                raise TrustError(f"no identity is available: {one_line(error, 300)}", hint=hint) from error
        return str(self._token)

    def prove(self, publisher: str) -> tuple[Identity, str]:
        """Who signs, and a signature (base64 of a bundle) that shows that they want to sign as this publisher.

        :raises TrustError: see :meth:`token`; or Sigstore can't be reached, or refuses.
        """
        found, bundle = self.sign(_message(publisher))
        return found, base64.b64encode(bundle.encode()).decode()

    def sign(self, message: bytes) -> tuple[Identity, str]:
        """Who signed, and Sigstore's bundle over the message, as JSON.

        :raises TrustError: see :meth:`prove`.
        """
        raw = self.token()
        from sigstore.oidc import IdentityToken
        from sigstore.sign import SigningContext

        context = SigningContext.from_trust_config(trust())
        try:
            with context.signer(IdentityToken(raw)) as signer:
                bundle = signer.sign_artifact(message)
            self._known = _named(bundle.signing_certificate)
        except Exception as error:
            raise TrustError(f"Sigstore signing failed: {one_line(error, 300)}", hint=REACH) from error
        return self._known, str(bundle.to_json())

    def identity(self) -> Identity:
        """Who signs: only a certificate tells, so something is signed where nothing was yet."""
        return self._known or self.sign(b"cogen identity 1\n")[0]


#: A hint for all that needs Sigstore.
REACH = f"check the network; {CONFIG} names a Sigstore of your own"


def check_proof(identity: Identity, publisher: str, proof: str) -> None:
    """:raises TrustError: ``proof`` was not made by this identity for this publisher, or nothing can be verified."""
    try:
        bundle = base64.b64decode(proof, validate=True).decode()
    except ValueError as error:
        raise _unproven(identity, f"{publisher}: it is not base64") from error
    try:
        check_signed(identity, _message(publisher), bundle)
    except TrustError as error:
        if error.hint == REACH:
            raise
        raise _unproven(identity, f"{publisher}: {error.message}") from error


def _unproven(identity: Identity, why: str) -> TrustError:
    return TrustError(
        f"the proof was not made by {identity} for {why}", hint="register it with `cogen publish --identity`"
    )


def check_signed(identity: Identity, message: bytes, bundle: str) -> None:
    """:raises TrustError: ``bundle`` (JSON) is not this identity's over ``message``, or nothing can be verified."""
    known = trust().trusted_root
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    try:
        who = policy.Identity(identity=identity.name, issuer=identity.issuer)
        Verifier(trusted_root=known).verify_artifact(message, Bundle.from_json(bundle), who)
    except Exception as error:
        raise TrustError(one_line(error, 300), hint="it was signed by somebody else, or altered") from error


def trust() -> Any:
    """Sigstore's ``ClientTrustConfig``: of :data:`CONFIG`, or of the public instance.

    :raises TrustError: the file is none, or the public roots can't be fetched.
    """
    file = config_file()
    from sigstore.models import ClientTrustConfig

    try:
        return ClientTrustConfig.from_json(file.read_text(encoding="utf-8")) if file else ClientTrustConfig.production()
    except Exception as error:
        whose = f"{CONFIG}={file} cannot be used" if file else "the roots of the public Sigstore cannot be fetched"
        raise TrustError(f"{whose}: {one_line(error, 300)}", hint=REACH) from error


def config_file() -> Path | None:
    """The trust configuration that the environment names."""
    return settings().sigstore


def _message(publisher: str) -> bytes:
    return f"{_POSSESSION}\n{publisher}\n".encode()


def _named(certificate: Certificate) -> Identity:
    """Who a certificate of Fulcio is for: not always who the token names, for a workflow it is its address."""
    from cryptography.x509 import ObjectIdentifier, RFC822Name, SubjectAlternativeName, UniformResourceIdentifier

    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    every = [*names.get_values_for_type(RFC822Name), *names.get_values_for_type(UniformResourceIdentifier)]
    issuer: Any = certificate.extensions.get_extension_for_oid(ObjectIdentifier(_ISSUER)).value
    return Identity(every[0], issuer.value.decode())
