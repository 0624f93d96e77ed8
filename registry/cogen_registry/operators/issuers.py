"""Identity tokens of OIDC issuers (RFC 7519, 7517): only of issuers that an operator named, with bounded fetches."""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cogen_registry.errors import Refused

#: What may sign: no shared secrets, no "none".
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
#: Characters of a token, bytes of a document, keys of an issuer, bits of an RSA key at least.
_TOKEN, _DOCUMENT, _KEYS, _RSA = 16_384, 256 * 1024, 100, 2048
_TIMEOUT = (3.0, 5.0)
#: Seconds: keys are kept so long; for one that is not known they are asked for again, but not more often than this.
_KEPT, _AGAIN = 600.0, 10.0
#: Seconds that clocks may differ; the most that a token may still be good for.
_LEEWAY, _LONGEST = 30, 24 * 3600
#: Claims that are written down with a token that was given.
_LOGGED = (
    "sub",
    "repository",
    "repository_id",
    "workflow",
    "workflow_ref",
    "job_workflow_ref",
    "environment",
    "ref",
    "sha",
    "project_path",
    "project_id",
    "ci_config_ref_uri",
    "email",
)


@dataclass(frozen=True)
class Identity:
    """What an issuer says of who holds the token."""

    issuer: str
    jti: str
    expires: datetime.datetime
    claims: dict[str, Any]

    def shown_claims(self) -> dict[str, str]:
        """The claims that say whose build it was."""
        return {name: str(self.claims[name])[:300] for name in _LOGGED if self.claims.get(name)}


def is_issuer(url: str) -> bool:
    """https, or a service of this machine."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    plain = re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+(/[\w./~-]*)?", url) is not None
    return plain and len(url) <= 300 and (parts.scheme == "https" or local)


def _reject(message: str, hint: str = "ask the issuer for a token for this registry, and try again") -> Refused:
    return Refused(422, message, hint=hint)


class Issuers:
    """Keys of issuers, kept for a while. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[float, dict[str, Any]]] = {}

    def verified(self, token: str, audience: str, known: Collection[str]) -> Identity:
        """What a token says, once its signature, issuer, audience and times hold.

        :param known: issuers that are trusted; nobody else is asked for keys.
        :raises Refused: 422; 503, the issuer can't be asked.
        """
        import jwt

        header, issuer = _unverified(token)
        if issuer not in known:
            raise _reject("this issuer is not trusted here", "`cogen-registry trusted-publisher add` names issuers")
        key = self._key(issuer, header)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=audience,
                issuer=issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_nbf": True, "verify_iat": True},
            )
        except jwt.ExpiredSignatureError:
            raise _reject("this identity token has expired") from None
        except jwt.InvalidAudienceError:
            raise _reject(f"this identity token is not for {audience}") from None
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as error:
            raise _reject(f"this identity token does not hold: {' '.join(str(error).split())[:200]}") from None
        if isinstance(claims["aud"], list) and len(claims["aud"]) != 1:
            raise _reject("this identity token is for several services")
        moment = int(claims["exp"])
        if moment - time.time() > _LONGEST:
            raise _reject("this identity token is good for too long")
        jti = claims.get("jti")
        return Identity(
            issuer,
            jti if isinstance(jti, str) and jti else token,
            datetime.datetime.fromtimestamp(moment + _LEEWAY, datetime.UTC),
            claims,
        )

    def _key(self, issuer: str, header: dict[str, Any]) -> Any:
        """The key that the header names."""
        kid = header["kid"]
        fetched, keys = self._keys.get(issuer, (-_KEPT, {}))
        age = time.monotonic() - fetched
        if age > _KEPT or (kid not in keys and age > _AGAIN):
            with self._lock:  # one asks, the others have its answer
                if self._keys.get(issuer, (-_KEPT, {}))[0] == fetched:
                    self._keys[issuer] = (time.monotonic(), fetch_keys(issuer))
                keys = self._keys[issuer][1]
        key = keys.get(kid)
        if key is None:
            raise _reject("this identity token is signed by a key that its issuer does not have")
        if key.algorithm_name != header["alg"] and not _same_family(key.algorithm_name, header["alg"]):
            raise _reject("this identity token is signed in another way than its key is for")
        return key.key


def _same_family(key: str | None, alg: str) -> bool:
    """An RSA key that says no algorithm counts as RS256, and may be used for the others of RSA."""
    rsa = ("RS", "PS")
    return bool(key) and str(key)[:2] in rsa and alg[:2] in rsa


def _unverified(token: str) -> tuple[dict[str, Any], str]:
    """Header and issuer, of which nothing is believed yet."""
    import jwt

    if len(token) > _TOKEN or token.count(".") != 2:
        raise _reject("this is not an identity token")
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise _reject("this is not an identity token") from None
    if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str) or "crit" in header:
        raise _reject("this identity token is signed in a way that is not taken", "one of " + ", ".join(ALGORITHMS))
    issuer = claims.get("iss")
    return header, issuer if isinstance(issuer, str) else ""


def fetch_keys(issuer: str) -> dict[str, Any]:
    """The issuer's keys that may sign, by their ids.

    :raises Refused: 503
    """
    import jwt

    about = _fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    place = about.get("jwks_uri")
    if about.get("issuer") != issuer or not isinstance(place, str) or not is_issuer(place.partition("?")[0]):
        raise _away(issuer, "its configuration names another issuer, or no keys")
    found: dict[str, Any] = {}
    keys = _fetch(place).get("keys")
    for one in keys[:_KEYS] if isinstance(keys, list) else ():
        if not isinstance(one, dict) or one.get("kty") not in ("RSA", "EC", "OKP") or one.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(one)
        except (jwt.PyJWTError, ValueError, TypeError):  # one that this library does not know
            continue
        if isinstance(one.get("kid"), str) and not (one["kty"] == "RSA" and key.key.key_size < _RSA):
            found[one["kid"]] = key
    return found


def _fetch(url: str) -> dict[str, Any]:
    import requests

    from cogen.remote.session import session

    try:
        with session() as opened:
            opened.auth = lambda request: request  # ~/.netrc is nobody's business here
            with opened.get(url, timeout=_TIMEOUT, allow_redirects=False, stream=True) as answer:
                if answer.status_code != 200:
                    raise _away(url, f"it answers {answer.status_code}")
                body, end = b"", time.monotonic() + 2 * _TIMEOUT[1]
                for block in answer.iter_content(16 * 1024):
                    body += block
                    if len(body) > _DOCUMENT or time.monotonic() > end:
                        raise _away(url, "its answer is too large or too slow")
        value = json.loads(body)
    except requests.RequestException as error:
        raise _away(url, type(error).__name__) from None
    except (ValueError, RecursionError):
        raise _away(url, "its answer is not JSON") from None
    if not isinstance(value, dict):
        raise _away(url, "its answer is not an object")
    return value


def _away(url: str, why: str) -> Refused:
    return Refused(503, f"{url} cannot be asked for its keys: {why}", hint="try again", headers={"Retry-After": "10"})
