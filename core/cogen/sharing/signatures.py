"""Is this release what its publisher signed, with a key that we know? The registry is only the messenger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cogen.errors import UsageError
from cogen.remote.client import Client, quoted
from cogen.remote.errors import RegistryError
from cogen.sharing.resolve import Release
from cogen.trust import check_statement, fingerprint
from cogen.trust.errors import TrustError
from cogen.trust.registries import pinned


@dataclass(frozen=True)
class Trusted:
    """A signature that holds. ``first``: the key was not seen before, and is to be remembered."""

    key: str
    public_key: str
    statement: dict[str, Any]
    bundle: dict[str, Any]
    first: bool


def check_release(client: Client, release: Release, wanted: str | None = None) -> Trusted | None:
    """``None``: the release is not signed.

    :param wanted: fingerprint (or its first digits) that the user got from the publisher on another way.
    :raises TrustError: a signature is there and doesn't hold, is for another file, or by a key that is not known.
    """
    if release.signature is None:
        return None
    try:
        statement, bundle = dict(release.signature["statement"]), dict(release.signature["bundle"])
        claimed = str(release.signature["key"])
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError("the signature has a form that is not known", hint="a newer CoGen may be needed") from error
    key = _key(client, release.publisher, claimed)
    if key.get("revoked"):
        raise TrustError(
            f"{release.project} {release.version} is signed with a key that {release.publisher} revoked",
            hint="wait for a release that is signed with another one",
        )
    pem = str(key.get("pem"))
    name = fingerprint(pem)
    first = _known(client.url, release.publisher, name, wanted)
    check_statement(statement, bundle, pem)
    for field in ("project", "version", "filename", "sha256", "size", "publisher"):
        if statement[field] != getattr(release, field):
            raise TrustError(
                f"the signature is for {field} {statement[field]}, not for {getattr(release, field)}",
                hint="somebody put a signature where it does not belong: do not use it, and tell the operator",
            )
    return Trusted(name, pem, statement, bundle, first)


def _known(url: str, publisher: str, key: str, wanted: str | None) -> bool:
    """Is this the first key of the publisher that we see?"""
    known = pinned(url, publisher)
    if wanted is not None:
        digits = wanted.lower().removeprefix("sha256:")
        if len(digits) < 16 or not all(digit in "0123456789abcdef" for digit in digits):
            raise UsageError(f"{wanted!r} is not a fingerprint", hint="sha256: and at least 16 hex digits")
        if not key.removeprefix("sha256:").startswith(digits):
            raise TrustError(
                f"it is signed with the key {key}, not with {wanted}", hint=f"ask {publisher} for the right fingerprint"
            )
        return key not in known
    if known and key not in known:
        raise TrustError(
            f"the key of {publisher} changed: {key} is not the one that was seen before ({', '.join(known)})",
            hint=f"ask {publisher} whether it is theirs; only then: --key {key}",
        )
    return not known


def _key(client: Client, publisher: str, wanted: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/publishers/{quoted(publisher)}")
    try:
        for key in answer["keys"]:
            if key["fingerprint"] == wanted:
                return dict(key)
    except (KeyError, TypeError) as error:
        raise RegistryError(f"{client.url} lists keys in a form that is not known", hint="update CoGen") from error
    raise TrustError(
        f"it is signed with a key that {publisher} has not registered", hint="do not use it, and tell the operator"
    )
