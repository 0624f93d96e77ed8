"""`cogen key`: a publisher exchanges its key, signed by the old one, or takes it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.errors import UsageError
from cogen.remote.client import Client, quoted
from cogen.remote.errors import RegistryError
from cogen.sharing.login import password, register, whoami
from cogen.sharing.names import Names, open_names
from cogen.sharing.publishing import upload
from cogen.sharing.publishing.chain import send
from cogen.trust import Signer, fingerprint, new_key, public_key, sign_statement
from cogen.trust.keys import plain
from cogen.trust.metadata.keys import signer_of
from cogen.trust.metadata.project import new_root, new_targets, sign
from cogen.trust.registries import default_key

Say = Callable[[str], None]


@dataclass
class Rotated:
    """``projects``: those whose keys were exchanged; ``before``: those that had been already, or know another key."""

    old: str
    new: str
    key_file: str
    projects: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KeyState:
    """A key of the publisher, and the projects that it signs."""

    fingerprint: str
    key: str
    revoked: str | None
    own: bool
    projects: list[str]


def keys_of(client: Client) -> list[KeyState]:
    """All keys of who is logged in."""
    publisher, _ = whoami(client)
    profile = _publisher(client, publisher)
    names = open_names(client)
    chains = {project: names.chain(project) for project in profile["projects"]}
    own = default_key()
    mine = fingerprint(public_key(own, password())) if own.exists() else None
    return [
        KeyState(
            key["fingerprint"],
            plain(key["pem"]).strip(),
            key["revoked"],
            key["fingerprint"] == mine,
            [name for name, chain in chains.items() if chain is not None and key["fingerprint"] in chain.keys],
        )
        for key in profile["keys"]
    ]


def rotate(client: Client, old: Signer, new: Path, say: Say) -> Rotated:
    """Exchange a key in the account and in every project that it signs; to be run again after an interrupt.

    :param new: a private key, made if there is none.
    :raises RegistryError: the registry refuses. :raises TrustError: one of the keys can't be used.
    """
    publisher, _ = whoami(client)
    if not new.exists():
        new_key(new, password())
        say(f"made a new key at {new}; keep a copy, nobody can restore it")
    leaving, coming = signer_of(old, password()), signer_of(new, password())
    if leaving.public_key.keyid == coming.public_key.keyid:
        raise UsageError(f"{new} holds the key that is to be replaced", hint="name a file for another one with --new")
    register(client, publisher, new, by=old)
    done = Rotated(f"sha256:{leaving.public_key.keyid}", f"sha256:{coming.public_key.keyid}", str(new))
    names = open_names(client)
    for project in _publisher(client, publisher)["projects"]:
        if _exchange(client, names, project, leaving, coming):
            done.projects.append(project)
            say(f"{project} is bound to {done.new} now")
        else:
            done.before.append(project)
    return done


def _exchange(client: Client, names: Names, project: str, leaving: Any, coming: Any) -> bool:
    chain = names.chain(project)
    if chain is None or f"sha256:{leaving.public_key.keyid}" not in chain.keys:
        return False
    root = chain.root.signed
    kept = [key for keyid, key in root.keys.items() if keyid not in (leaving.public_key.keyid, coming.public_key.keyid)]
    following = new_root(project, [*kept, coming.public_key], before=root, threshold=root.roles["targets"].threshold)
    targets = new_targets(project, chain.targets.signed.version + 1, chain.entries())
    send(client, project, [sign(following, [leaving, coming])], sign(targets, [coming]))
    return True


def adopt(old: Path, new: Path) -> Path:
    """The new key becomes the user's own, where the old one was; that is kept beside it. Returns where."""
    name = fingerprint(public_key(old, password())).removeprefix("sha256:")[:16]
    kept = old.with_name(f"{old.stem}-{name}{old.suffix}")
    for ending in (".pub", old.suffix):  # the private one last: until then the old one counts
        source, target = new.with_suffix(ending), old.with_suffix(ending)
        if target.exists():
            target.rename(kept.with_suffix(ending))
        if source.exists():
            source.rename(target)
    return kept


def signs_still(client: Client, name: str) -> list[str]:
    """Projects that a key signs now."""
    return next((one.projects for one in keys_of(client) if one.fingerprint == name), [])


def revoke(client: Client, name: str, *, again: Signer | None, say: Say) -> list[str]:
    """Take a key back for ever. Returns the releases that were signed again.

    :param again: signs those releases again that the key had signed.
    """
    client.send("POST", f"/api/v1/keys/{quoted(name)}/revoke")
    if again is None:
        return []
    publisher, _ = whoami(client)
    names, done = open_names(client), []
    for project in _publisher(client, publisher)["projects"]:
        for one in names.releases(project):
            if one.key != name:
                continue
            release: Any = client.get(f"/api/v1/releases/{quoted(project)}/{quoted(one.version)}")
            statement = dict(release["signature"]["statement"])
            upload.upload_signature(client, statement, sign_statement(statement, again, password()))
            done.append(f"{project} {one.version}")
            say(f"signed {done[-1]} again")
    return done


def _publisher(client: Client, name: str) -> Any:
    profile = client.get(f"/api/v1/publishers/{quoted(name)}")
    if not isinstance(profile, dict) or "projects" not in profile or "keys" not in profile:
        raise RegistryError(f"{client.url} is of an older version", hint="ask its operator to update it")
    return profile
