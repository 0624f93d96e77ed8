"""An OIDC issuer on this machine, with real keys; it signs what a test asks for, and counts who asks for its keys."""

from __future__ import annotations

import json
import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from support.servers import Server, send, serving

#: Made once: an RSA key takes a second.
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """``changes`` are made to the configuration, ``keys`` to the set of keys that it shows."""

    def __init__(self, audience: str) -> None:
        self.audience, self.url = audience, ""
        self.changes: dict[str, Any] = {}
        self.keys: list[dict[str, Any]] = [
            json.loads(RSAAlgorithm.to_jwk(RSA.public_key())) | {"kid": "rsa", "alg": "RS256", "use": "sig"},
            json.loads(ECAlgorithm.to_jwk(EC.public_key())) | {"kid": "ec", "use": "sig"},
            json.loads(RSAAlgorithm.to_jwk(WEAK.public_key())) | {"kid": "weak", "alg": "RS256"},
        ]
        self.server: Server | None = None

    @property
    def asked(self) -> int:
        """How often its keys were asked for."""
        assert self.server is not None
        return sum(line == "GET /keys" for line, _ in self.server.seen)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """As of a build at GitHub; ``None`` takes one out."""
        moment = int(time.time())
        output = {
            "iss": self.url,
            "aud": self.audience,
            "iat": moment,
            "nbf": moment,
            "exp": moment + 300,
            "jti": secrets.token_hex(8),
            "sub": "repo:org/power:environment:publish",
            "repository": "org/power",
            "environment": "publish",
            "workflow": "Release",
            "job_workflow_ref": "org/power/.github/workflows/release.yml@refs/tags/v1",
            "ref": "refs/tags/v1",
        } | changes
        return {name: value for name, value in output.items() if value is not None}

    def token(self, key: Any = EC, kid: str | None = "ec", alg: str = "ES256", **changes: Any) -> str:
        headers = {"kid": kid} if kid is not None else {}
        with warnings.catch_warnings():  # the weak key is meant to be weak
            warnings.simplefilter("ignore")
            return jwt.encode(self.claims(**changes), key, algorithm=alg, headers=headers)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if parts.path == "/.well-known/openid-configuration":
            send(handler, {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.changes)
        elif parts.path == "/keys":
            send(handler, {"keys": self.keys})
        elif parts.path == "/request":  # what a runner of GitHub's asks for
            self.audience = parse_qs(parts.query)["audience"][0]
            send(handler, {"value": self.token()})
        else:
            send(handler, {}, 404)


@contextmanager
def issuing(audience: str) -> Iterator[Issuer]:
    made = Issuer(audience)
    with serving(made.answer) as server:
        made.url, made.server = server.url, server
        yield made


def audience_of(served: Any) -> str:
    """Whom identity tokens for this registry are for."""
    return str(served.get("/_/oidc/audience").json()["audience"])
