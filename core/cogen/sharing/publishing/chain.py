"""The chain of a project: made at the first publication, and a list that grows with each further one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cogen.errors import CogenError
from cogen.remote.client import Client, quoted
from cogen.remote.errors import RegistryError
from cogen.sharing.login import password
from cogen.sharing.names import Names, Untold, open_names
from cogen.trust import Signer, check_statement, fingerprint
from cogen.trust.errors import TrustError
from cogen.trust.metadata.keys import public_of, signer_of
from cogen.trust.metadata.project import Chain, Entry, bytes_of, entry_of, new_root, new_targets, sign
from cogen.trust.pins import Pin, update


def vouch(client: Client, project: str, statements: Sequence[dict[str, Any]], signer: Signer) -> Chain | None:
    """Put what was signed on the project's list, and bind the project to the key if it is not bound yet.

    :param statements: signed ones, of releases that are uploaded.
    :returns: ``None``: the registry is of an older version and keeps no chains.
    :raises TrustError: the project is bound to another key. :raises RegistryError: the registry refuses it.
    """
    try:
        names = open_names(client)
    except Untold:
        return None
    signing = signer_of(signer, password())
    key = f"sha256:{signing.public_key.keyid}"
    chain = _chain(names, project, key)
    entries = {entry.filename: entry for entry in map(entry_of, statements)}
    if chain is not None and all(chain.entry(name) == entry for name, entry in entries.items()):
        return chain
    if chain is not None and key not in chain.keys:
        raise _other(project, chain, key)
    roots = []
    if chain is None:
        entries = {entry.filename: entry for entry in _signed_before(names, project, signing.public_key)} | entries
        roots.append(sign(new_root(project, [signing.public_key]), [signing]))
    else:
        entries = {entry.filename: entry for entry in chain.entries()} | entries
    targets = sign(new_targets(project, _next(names, project, chain), entries.values()), [signing])
    return send(client, project, roots, targets)


def check_bound(client: Client, project: str, publisher: str, key: str) -> None:
    """:raises TrustError: the project is bound to another key: what is signed with this one nobody would take.

    :raises RegistryError: it is somebody else's.
    """
    try:
        names = open_names(client)
    except Untold:
        return
    if any(one.owner != publisher for one in names.releases(project)):
        raise RegistryError(f"{project} belongs to another publisher", hint="choose another name")
    chain = _chain(names, project, key)
    if chain is not None and key not in chain.keys:
        raise _other(project, chain, key)


def _chain(names: Names, project: str, key: str) -> Chain | None:
    """The keys that bind a project. Its publisher, who asks here, begins anew where the operator allowed it.

    :raises TrustError: see :meth:`Names.chain`.
    """
    try:
        return names.chain(project)
    except TrustError:
        if names.recovered(project) is None:
            raise
        if names.documents(project) is None:
            return None
        found = names.chain(project, pinned=False)
        if found is None or key not in found.keys:
            raise
        return found


def _other(project: str, chain: Chain, key: str) -> TrustError:
    return TrustError(
        f"{project} is bound to the key {min(chain.keys)}, not to {key}",
        hint="sign with that one; `cogen key rotate` exchanges it",
    )


def send(client: Client, project: str, roots: Sequence[Any], targets: Any) -> Chain:
    """Send documents, and read the chain as everybody will from now on; what was sent is pinned.

    :raises RegistryError: the registry refuses them.
    """
    body = {"roots": [one.to_dict() for one in roots], "targets": targets.to_dict()}
    client.send("PUT", f"/api/v1/projects/{quoted(project)}/metadata", json=body)
    names = open_names(client)
    chain = names.chain(project, pinned=False)
    if chain is None or chain.targets.signed_bytes != targets.signed_bytes:
        raise RegistryError(f"{client.url} has lost the documents of {project}", hint="run the command again")
    update(names.identity, projects={project: Pin(bytes_of(chain.root), chain.targets.signed.version, min(chain.keys))})
    return chain


def _next(names: Names, project: str, chain: Chain | None) -> int:
    """After a database was restored from a copy the registry may be behind what was seen here."""
    pin = names.pins.projects.get(project)
    return max(chain.targets.signed.version if chain else 0, pin.targets if pin else 0) + 1


def _signed_before(names: Names, project: str, key: Any) -> list[Entry]:
    """Releases that the same key signed when there were no chains yet."""
    pem, found = public_of(key), []
    for one in names.releases(project):
        if one.key != fingerprint(pem):
            continue
        answer: Any = names.client.get(f"/api/v1/releases/{quoted(project)}/{quoted(one.version)}")
        try:
            statement, bundle = dict(answer["signature"]["statement"]), dict(answer["signature"]["bundle"])
            check_statement(statement, bundle, pem)
        except (CogenError, KeyError, TypeError, ValueError):
            continue  # not ours, or damaged: it does not get onto the list
        found.append(entry_of(statement))
    return found
