"""Is this release what its publisher signed, with a key that we know? The registry is only the messenger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cogen.remote.client import Client, quoted
from cogen.remote.errors import RegistryError
from cogen.remote.fields import text
from cogen.sharing.binding import Bound
from cogen.sharing.fingerprints import digits_of
from cogen.sharing.history import Before, before
from cogen.sharing.resolve import Release
from cogen.trust import check_statement, fingerprint
from cogen.trust.errors import TrustError
from cogen.trust.metadata.project import Chain, ChainChanged
from cogen.trust.pins import Pin
from cogen.trust.registries import pinned

_WRONG_PLACE = "somebody put a signature where it does not belong: do not use it, and tell the operator"


@dataclass(frozen=True)
class Trusted:
    """A signature that holds. ``first``: the key was not seen before, and is to be remembered.

    ``chain``: the project's keys; ``None``: its publisher signs statements alone, as older versions did.
    """

    key: str
    public_key: str
    statement: dict[str, Any]
    bundle: dict[str, Any]
    first: bool
    chain: Chain | None = None


def check_release(
    client: Client,
    release: Release,
    wanted: str | None = None,
    *,
    bound: Bound | None = None,
    known: Before | None = None,
) -> Trusted | None:
    """``None``: the release is not signed, and neither was its project.

    :param wanted: fingerprint (or its first digits) that the user got from the publisher on another way.
    :param bound: what the registry signed of it; ``None``: it is a registry that signs nothing.
    :param known: what the project's file and this environment say of it.
    :raises TrustError: a signature is there and doesn't hold, is for another file, or by a key that is not known.
    """
    known = known or before(release.project)
    pin = bound.names.pins.projects.get(release.project) if bound else None
    chain = _chain(bound, release, wanted) if bound else None
    if chain is None and bound is not None:
        _same_key(bound, release)
    if release.signature is None:
        if chain is not None:
            raise TrustError(
                f"{release.project} {release.version} is not signed, and its publisher signs: {min(chain.keys)}",
                hint=f"do not use it; ask {release.publisher} to sign it (`cogen publish`)",
            )
        if pin is not None and pin.key is not None:
            raise TrustError(
                f"{release.project} was signed with {pin.key} and is not any more",
                hint="do not use it, and ask its publisher",
            )
        return None
    try:
        statement, bundle = dict(release.signature["statement"]), dict(release.signature["bundle"])
        claimed = text(release.signature["key"])
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError("the signature has a form that is not known", hint="a newer CoGen may be needed") from error
    pem, revoked = _public_key(client, release, claimed, bound, chain)
    if revoked:
        raise TrustError(
            f"{release.project} {release.version} is signed with a key that {release.publisher} revoked"
            if revoked is True
            else f"{release.project} is signed with a key that was revoked {revoked}: {claimed}",
            hint="wait for a release that is signed with another one",
        )
    name = fingerprint(pem)
    first = _known(client.url, release, name, wanted, chain, known, pin)
    check_statement(statement, bundle, pem)
    for field in ("project", "version", "filename", "sha256", "size", "publisher"):
        if statement[field] != getattr(release, field):
            raise TrustError(
                f"the signature is for {field} {statement[field]}, not for {getattr(release, field)}", hint=_WRONG_PLACE
            )
    if chain is not None:
        _listed(chain, release, statement)
    return Trusted(name, pem, statement, bundle, first, chain)


def _chain(bound: Bound, release: Release, wanted: str | None) -> Chain | None:
    """The project's keys; with ``wanted`` also ones that nobody who was known before signed."""
    names, project = bound.names, release.project
    try:
        return names.chain(project)
    except ChainChanged as error:
        found = names.chain(project, pinned=False)
        keys = sorted(found.keys) if found else []
        if wanted is not None and any(key.removeprefix("sha256:").startswith(digits_of(wanted)) for key in keys):
            return found
        why = names.recovered(project)
        message = error.message + (f"; the registry's operator let it begin anew {why}" if why else "")
        accept = f"ask {release.publisher} whether {keys[0]} is theirs; only then: --key {keys[0]}" if keys else None
        raise ChainChanged(message, hint=accept or error.hint) from error


def _same_key(bound: Bound, release: Release) -> None:
    """The facts of a signature are those that the registry signed."""
    sent = release.signature["key"] if isinstance(release.signature, dict) and "key" in release.signature else None
    if (bound.listed.key is None) is not (release.signature is None) or bound.listed.key != sent:
        raise TrustError(
            f"{release.project} {release.version} is sent with the signature of {sent or 'nobody'}; the registry's "
            f"metadata says it is not registered like that, but with {bound.listed.key or 'none'}",
            hint="somebody changed it on its way: do not use it, and tell the registry's operator",
        )


def _public_key(
    client: Client, release: Release, claimed: str, bound: Bound | None, chain: Chain | None
) -> tuple[str, str | bool]:
    """(key or identity, was it revoked: by whom and why)."""
    revoked = bound.names.revoked if bound else {}
    if chain is not None:
        if claimed not in chain.known:
            raise TrustError(
                f"it is signed with {claimed}, which is not registered as a key of {release.project}", hint=_WRONG_PLACE
            )
        return chain.known[claimed], revoked.get(claimed, False)
    key = _key(client, release.publisher, claimed)
    return str(key.get("pem")), bool(key.get("revoked")) or revoked.get(claimed, False)


def _known(
    url: str, release: Release, key: str, wanted: str | None, chain: Chain | None, known: Before, pin: Pin | None
) -> bool:
    """Is this the first key of the project that we see? Keys that a known one gave way to are not others."""
    publisher, same = release.publisher, set(chain.known) | {key} if chain else {key}
    seen = {one: where for where, one in known.keys}
    if pin is not None and pin.key:
        seen.setdefault(pin.key, "this user")
    by_publisher = pinned(url, publisher)
    if wanted is not None:
        digits = digits_of(wanted)
        now = set(chain.keys) | {key} if chain else {key}
        if not any(one.removeprefix("sha256:").startswith(digits) for one in now):
            raise TrustError(
                f"it is signed with the key {key}, not with {wanted}", hint=f"ask {publisher} for the right fingerprint"
            )
        return key not in by_publisher or pin is None
    if lost := [one for one in seen if one not in same]:
        raise TrustError(
            f"the key of {release.project} changed: {key} is not the one that {seen[lost[0]]} names ({lost[0]})",
            hint=f"ask {publisher} whether it is theirs; only then: --key {key}",
        )
    if by_publisher and not seen and not (pin and pin.root) and not same & set(by_publisher):
        raise TrustError(
            f"the key of {publisher} changed: {key} is not the one that was seen before ({', '.join(by_publisher)})",
            hint=f"ask {publisher} whether it is theirs; only then: --key {key}",
        )
    return pin is None and not seen


def _listed(chain: Chain, release: Release, statement: dict[str, Any]) -> None:
    """The list that the project's keys signed has this release, as the statement describes it."""
    entry = chain.entry(release.filename)
    if entry is None:
        raise TrustError(
            f"{release.filename} is not on the list of releases that {release.project}'s keys signed",
            hint=f"ask {release.publisher} whether it is theirs: `cogen publish` puts it there",
        )
    signed = {"sha256": entry.sha256, "size": entry.size, "version": entry.version}
    for field, value in signed.items():
        if value != statement[field]:
            raise TrustError(
                f"the project's list is for {field} {value}, not for {statement[field]}", hint=_WRONG_PLACE
            )
    by_id = sorted(statement["experts"], key=lambda one: str(one["id"]))
    if sorted(entry.experts, key=lambda one: str(one["id"])) != by_id:
        raise TrustError("the project's list names other experts than the signature", hint=_WRONG_PLACE)


def _key(client: Client, publisher: str, wanted: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/publishers/{quoted(publisher)}")
    try:
        for key in answer["keys"]:
            if key["fingerprint"] == wanted:
                if fingerprint(str(key["pem"])) != wanted:
                    raise TrustError(f"the registry sends another key as {wanted}", hint=_WRONG_PLACE)
                return dict(key)
    except (KeyError, TypeError) as error:
        raise RegistryError(f"{client.url} lists keys in a form that is not known", hint="update CoGen") from error
    raise TrustError(
        f"it is signed with a key that {publisher} has not registered", hint="do not use it, and tell the operator"
    )
