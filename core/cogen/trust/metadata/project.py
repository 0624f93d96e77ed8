"""The chain of one project: roots that name its publisher's keys, and the list of its releases, signed with them.

    N.root.json     TUF's Root; its field ``project`` binds it to the name. Version N + 1 is signed by a threshold
                    of the keys of version N and of its own: keys change by the old ones' signature alone.
    targets.json    TUF's Targets; one entry for each wheel, by its file name: length, SHA-256, and as ``custom``
                    what the signed statement says: version, experts with digests of manifest and weights.

Every key of a root signs the root that it appears in first: nobody's key gets into somebody else's chain. Freshness is
the registry's matter (timestamp, snapshot, bins); documents of a project expire after years.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Key
from securesystemslib.signer import Signer as TufSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, Role, Root, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from cogen.trust.errors import TrustError
from cogen.trust.metadata.keys import public_of

#: Roots of one project, and bytes of one document, that a client reads.
MOST_ROOTS = 256
MOST_BYTES = 5_000_000
_YEARS = datetime.timedelta(days=3650)
_SIGNING = ("root", "targets")
_OTHERS = "do not use it, and tell the registry's operator"


class ChainChanged(TrustError):
    """The keys of a project are others than those that were seen, and nobody who held these signed the change."""


@dataclass(frozen=True)
class Entry:
    """One wheel of a project, as its publisher's keys say it."""

    filename: str
    sha256: str
    size: int
    version: str
    #: [{"id", "spec_digest", "weights": {"source", "revision", "file_digest"}}]
    experts: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Chain:
    """Verified. ``roots``: from the first to the current one."""

    project: str
    roots: tuple[Metadata[Root], ...]
    targets: Metadata[Targets]

    @property
    def root(self) -> Metadata[Root]:
        return self.roots[-1]

    @property
    def keys(self) -> dict[str, str]:
        """Fingerprint → public key or identity, of the keys that sign releases now."""
        return _keys_of(self.root.signed)

    @property
    def known(self) -> dict[str, str]:
        """The same of every key that the project ever had, where it signed the root that names it."""
        found: dict[str, str] = {}
        for document in self.roots:
            ours = _keys_of(document.signed)
            found |= {key: ours[key] for key in signed_by(document) if key in ours}
        return found

    def entry(self, filename: str) -> Entry | None:
        """The entry of a wheel; ``None``: there is none."""
        target = self.targets.signed.targets.get(filename)
        return None if target is None else _entry(target)

    def entries(self) -> list[Entry]:
        return [_entry(target) for target in self.targets.signed.targets.values()]


def new_root(project: str, keys: Sequence[Key], *, before: Root | None = None, threshold: int = 1) -> Metadata[Root]:
    """A root that names these keys: the first one, or that after ``before``; nobody has signed it yet."""
    ids = [key.keyid for key in keys]
    roles = {
        name: Role(ids if name in _SIGNING else [], threshold if name in _SIGNING else 1)
        for name in sorted(TOP_LEVEL_ROLE_NAMES)
    }
    root = Root(
        version=before.version + 1 if before else 1,
        expires=_far(),
        keys={key.keyid: key for key in keys},
        roles=roles,
        consistent_snapshot=True,
        unrecognized_fields={"project": project},
    )
    return Metadata(root)


def new_targets(project: str, version: int, entries: Iterable[Entry]) -> Metadata[Targets]:
    """The list of a project's releases; nobody has signed it yet."""
    targets = {}
    for entry in entries:
        custom = {"version": entry.version, "experts": [dict(one) for one in entry.experts]}
        targets[entry.filename] = TargetFile(entry.size, {"sha256": entry.sha256}, entry.filename, {"custom": custom})
    return Metadata(Targets(version, None, _far(), targets, unrecognized_fields={"project": project}))


def entry_of(statement: dict[str, Any]) -> Entry:
    """The entry that says of a wheel what a signed statement says."""
    return Entry(
        statement["filename"], statement["sha256"], statement["size"], statement["version"], tuple(statement["experts"])
    )


def sign(document: Metadata[Any], signers: Iterable[TufSigner]) -> Metadata[Any]:
    """Add signatures to a document.

    :raises TrustError: it can't be signed.
    """
    for signer in signers:
        try:
            document.sign(signer, append=True)
        except RepositoryError as error:
            cause = error.__cause__
            raise (
                cause
                if isinstance(cause, TrustError)
                else TrustError(f"it cannot be signed: {error}", hint="check the key")
            ) from error
    return document


def bytes_of(document: Metadata[Any]) -> bytes:
    """As it is kept and sent."""
    return document.to_bytes(JSONSerializer(compact=True))


def read_root(data: bytes, project: str) -> Metadata[Root]:
    """:raises TrustError: it is not a root of this project. Signatures are not looked at."""
    document: Metadata[Root] = _read(data, project, Root)
    root = document.signed
    for name in _SIGNING:
        role = root.roles[name]
        if not 1 <= role.threshold <= len(role.keyids) <= 20 or not set(role.keyids) <= set(root.keys):
            raise TrustError(f"a root of {project} cannot be satisfied by its keys", hint=_OTHERS)
    for key in root.keys.values():
        public_of(key)
    return document


def read_targets(data: bytes, project: str) -> Metadata[Targets]:
    """:raises TrustError: it is not a list of this project's releases. Signatures are not looked at."""
    document: Metadata[Targets] = _read(data, project, Targets)
    if document.signed.delegations is not None:
        raise TrustError(f"the releases of {project} are delegated to others", hint=_OTHERS)
    for target in document.signed.targets.values():
        _entry(target)
    return document


def check_root(document: Metadata[Root], before: Metadata[Root] | None) -> None:
    """``document`` follows ``before`` (``None``: it is the first one), and all that are new in it signed it.

    :raises TrustError: it doesn't.
    """
    root, project = document.signed, document.signed.unrecognized_fields["project"]
    if root.version != (before.signed.version + 1 if before else 1):
        raise TrustError(f"root {root.version} of {project} is out of turn", hint=_OTHERS)
    result = root.get_root_verification_result(
        before.signed if before else None, document.signed_bytes, document.signatures
    )
    if not result and before is None:
        raise TrustError(f"the first keys of {project} did not sign for themselves", hint=_OTHERS)
    if not result:
        raise ChainChanged(
            f"the keys of {project} were replaced, and the keys of before did not sign that", hint=_OTHERS
        )
    old = set(before.signed.keys) if before else set()
    if lacking := {key.removeprefix("sha256:") for key in _keys_of(root)} - old - _signed(document):
        raise TrustError(f"the key sha256:{min(lacking)} did not agree to sign for {project}", hint=_OTHERS)


def check_targets(document: Metadata[Targets], root: Metadata[Root], revoked: Collection[str] = ()) -> None:
    """A threshold of the root's keys signed the list; keys that were revoked don't count.

    :raises TrustError: it didn't.
    """
    project = root.signed.unrecognized_fields["project"]
    for name, signed in (("root", root), ("targets", document)):
        result = root.signed.get_verification_result(name, signed.signed_bytes, signed.signatures)
        if not result:
            raise TrustError(f"the releases of {project} are not signed with its keys", hint=_OTHERS)
        left = [key for key in result.signed if f"sha256:{key}" not in revoked]
        if len(left) < result.threshold:
            gone = ", ".join(f"sha256:{key}" for key in result.signed if f"sha256:{key}" in revoked)
            raise TrustError(
                f"{project} is signed with a key that was revoked: {gone}",
                hint="wait until its publisher signs with another one; the registry's operator knows more",
            )


def verify(
    project: str,
    roots: Sequence[bytes],
    targets: bytes,
    *,
    pinned: bytes | None = None,
    seen: int = 0,
    revoked: Collection[str] = (),
) -> Chain:
    """The chain from all of its roots, the first one first.

    :param pinned: the root that was verified last time. :param seen: the version of the list at that time.
    :param revoked: fingerprints.
    :raises ChainChanged: the chain does not contain ``pinned``. :raises TrustError: it doesn't hold, or is older.
    """
    if not 0 < len(roots) <= MOST_ROOTS:
        raise TrustError(f"{project} has {len(roots)} roots", hint=_OTHERS)
    documents: list[Metadata[Root]] = []
    for data in roots:
        document = read_root(data, project)
        check_root(document, documents[-1] if documents else None)
        documents.append(document)
    if pinned is not None:
        known = read_root(pinned, project)
        at = known.signed.version
        if at > len(documents):
            raise TrustError(
                f"the keys of {project} are older than those that were seen before",
                hint="this is an old copy: ask the registry itself, and tell the operator",
            )
        if documents[at - 1].signed_bytes != known.signed_bytes:
            raise ChainChanged(
                f"the keys of {project} were replaced, and the keys of before did not sign that", hint=_OTHERS
            )
    listed = read_targets(targets, project)
    check_targets(listed, documents[-1], revoked)
    if listed.signed.version < seen:
        raise TrustError(
            f"the list of releases of {project} is older ({listed.signed.version}) than what was seen ({seen})",
            hint="somebody brings back an old list: do not use it, and tell the registry's operator",
        )
    for one in (documents[-1], listed):
        if one.signed.is_expired():
            raise TrustError(f"the documents of {project} expired", hint="ask its publisher to sign again")
    return Chain(project, tuple(documents), listed)


def signed_by(document: Metadata[Root]) -> list[str]:
    """Fingerprints of the root's own keys whose signature on it holds."""
    return [f"sha256:{key}" for key in _signed(document)]


def _signed(document: Metadata[Root]) -> set[str]:
    found: set[str] = set()
    for name in _SIGNING:
        found |= set(document.signed.get_verification_result(name, document.signed_bytes, document.signatures).signed)
    return found


def _keys_of(root: Root) -> dict[str, str]:
    ids = [keyid for name in _SIGNING for keyid in root.roles[name].keyids]
    return {f"sha256:{keyid}": public_of(root.keys[keyid]) for keyid in ids}


def _read(data: bytes, project: str, kind: type[Any]) -> Any:
    what = f"the {kind.__name__.lower()} of {project}"
    if len(data) > MOST_BYTES:
        raise TrustError(f"{what} has more than {MOST_BYTES:,} bytes", hint=_OTHERS)
    try:
        document: Metadata[Any] = Metadata.from_bytes(data)
        if not isinstance(document.signed, kind) or len(document.signatures) > 40:
            raise ValueError("it is another document")
        _ = document.signed_bytes  # what canonical JSON can't say (a float, say) nobody can have signed
    except (RepositoryError, ValueError, RecursionError) as error:
        raise TrustError(f"{what} cannot be read", hint="a newer CoGen may be needed") from error
    named = document.signed.unrecognized_fields.get("project")
    if named != project:
        raise TrustError(f"{what} is of {str(named)[:80]!r}", hint="somebody exchanged projects: tell the operator")
    return document


def _entry(target: TargetFile) -> Entry:
    from packaging.version import InvalidVersion, Version

    from cogen.trust.statement import SignedExpert

    try:
        custom = target.custom
        experts = [SignedExpert.model_validate(one) for one in custom["experts"]]
        return Entry(
            target.path,
            target.hashes["sha256"],
            target.length,
            str(Version(custom["version"])),
            tuple(one.model_dump() for one in experts),
        )
    except (KeyError, TypeError, ValueError, InvalidVersion) as error:
        raise TrustError(
            f"the entry of {target.path[:200]!r} cannot be read", hint="a newer CoGen may be needed"
        ) from error


def _far() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0) + _YEARS
