"""What needs the operator's offline keys: the first root, renewing root and targets, exchanging keys."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner, Key
from sqlalchemy import select
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Delegations, Metadata, Role, Root, SuccinctRoles, Targets

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import SignedRole, now
from cogen_registry.errors import Refused
from cogen_registry.metadata import state
from cogen_registry.metadata.keys import Online
from cogen_registry.metadata.signer import Signer, every_project

#: How long root and targets are valid, and how long before their end that is said.
YEAR = datetime.timedelta(days=365)
WARN = datetime.timedelta(days=42)


@dataclass(frozen=True)
class Expiry:
    """When a role of the operator ends."""

    role: str
    version: int
    expires: datetime.datetime

    @property
    def days(self) -> int:
        return (self.expires - now()).days

    @property
    def hours(self) -> int:
        return int((self.expires - now()).total_seconds() // 3600)

    @property
    def soon(self) -> bool:
        return self.expires - now() < WARN


def initialise(session: Session, online: Online, offline: Sequence[CryptoSigner], threshold: int, bits: int) -> str:
    """Sign everything for the first time, and what is said of every project that is there.

    :param bits: of 2 ** bits bins. :returns: the fingerprint of the root.
    :raises Refused: 409, it was done before.
    """
    state.alone(session)
    if state.initialised(session):
        raise Refused(409, "this registry is initialised already", hint="`cogen-registry status` shows its root")
    root = _root(1, online, [signer.public_key for signer in offline], threshold)
    targets = _targets(1, online, bits)
    for document in (root, targets):
        for signer in offline:
            document.sign(signer, append=True)
    state.put_roles(session, [("root", root), ("targets", targets)])
    signing = Signer(online)
    signing.sign_bins(session, list(_bins(targets).get_roles()), also={"targets": 1})
    signing.change(session, every_project(session), revocations=True)
    return fingerprint(session)


def renew(
    session: Session,
    online: Online,
    offline: Sequence[CryptoSigner],
    *,
    new: Online | None = None,
    keys: Sequence[CryptoSigner] | None = None,
    threshold: int | None = None,
) -> None:
    """Renew the signatures of root and targets for another year.

    :param new: keys that the service signs with from now on. :param keys: of the operator, instead of those of before.
    :raises Refused: 400, these are not enough of the keys.
    """
    state.alone(session)
    before, listed = state.newest(session, "root"), state.newest(session, "targets")
    if before is None or listed is None:
        raise Refused(409, "this registry is not initialised", hint="cogen-registry init")
    old: Root = before.signed
    known = [old.keys[keyid] for keyid in old.roles["root"].keyids]
    service = new or online
    root = _root(
        old.version + 1,
        service,
        [one.public_key for one in keys] if keys else known,
        threshold or old.roles["root"].threshold,
    )
    targets = _targets(listed.signed.version + 1, service, _bins(listed).bit_length)
    for signer in {one.public_key.keyid: one for one in (*offline, *(keys or ()))}.values():
        root.sign(signer, append=True)
        if signer.public_key.keyid in root.signed.roles["targets"].keyids:
            targets.sign(signer, append=True)
    if not root.signed.get_root_verification_result(old, root.signed_bytes, root.signatures):
        need = old.roles["root"].threshold
        raise Refused(400, f"these are not {need} of the root's keys", hint="name all folders with --keys")
    root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    state.put_roles(session, [("root", root), ("targets", targets)])
    signing = Signer(service)
    if new is None:
        signing.sign_bins(session, [], also={"targets": targets.signed.version})
    else:
        signing.sign_bins(session, list(_bins(targets).get_roles()), also={"targets": targets.signed.version})


def fingerprint(session: Session, version: int | None = None) -> str:
    """What users compare: ``sha256:`` and the digest of the file ``/tuf/N.root.json``, by default of the newest."""
    rows = select(SignedRole.data).where(SignedRole.role == "root").order_by(SignedRole.version.desc())
    data = session.scalar((rows if version is None else rows.where(SignedRole.version == version)).limit(1))
    if data is None:
        raise Refused(409, "this registry is not initialised", hint="cogen-registry init")
    return "sha256:" + hashlib.sha256(data).hexdigest()


def expiries(session: Session) -> list[Expiry]:
    """Of all that is not signed again by itself, and of the timestamp."""
    found = session.execute(
        select(SignedRole.role, SignedRole.version, SignedRole.expires)
        .where(SignedRole.superseded.is_(None), SignedRole.role.in_(["root", "targets", "snapshot", "timestamp"]))
        .order_by(SignedRole.role)
    )
    return [Expiry(row.role, row.version, row.expires) for row in found]


def _root(version: int, online: Online, keys: Sequence[Key], threshold: int) -> Metadata[Root]:
    ids = [key.keyid for key in keys]
    roles = {name: Role(ids, threshold) for name in ("root", "targets")}
    service = {name: getattr(online, name).public_key for name in ("timestamp", "snapshot")}
    roles |= {name: Role([key.keyid], 1) for name, key in service.items()}
    assert set(roles) == TOP_LEVEL_ROLE_NAMES
    every = {key.keyid: key for key in (*keys, *service.values())}
    return Metadata(Root(version, None, _end(), every, roles, consistent_snapshot=True))


def _targets(version: int, online: Online, bits: int) -> Metadata[Targets]:
    key = online.bins.public_key
    bins = SuccinctRoles([key.keyid], 1, bits, "bins")
    return Metadata(Targets(version, None, _end(), {}, Delegations({key.keyid: key}, succinct_roles=bins)))


def _bins(targets: Metadata[Targets]) -> SuccinctRoles:
    """The bins that targets delegate to; :func:`_targets` always has some."""
    delegations = targets.signed.delegations
    assert delegations is not None
    assert delegations.succinct_roles is not None
    return delegations.succinct_roles


def _end() -> datetime.datetime:
    return now().replace(microsecond=0) + YEAR
