"""`cogen login`: the token is tried before it is stored, the key is registered with a proof that it is ours."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.remote.client import Client
from cogen.remote.errors import RegistryError
from cogen.trust import Signer, fingerprint, new_key, proven, public_key
from cogen.trust.keys import PASSWORD
from cogen.trust.registries import Registry, default_key, remember


@dataclass
class Told:
    """What happened."""

    config: Path
    publisher: str | None = None
    scopes: list[str] = field(default_factory=list)
    key: str | None = None
    key_file: Path | None = None
    made: bool = False


def login(url: str, token: str | None, *, key: Path | None = None, make_key: bool = False) -> Told:
    """Try the registry, then store it as the default.

    :raises RegistryError: it can't be reached, or doesn't take the token. :raises TrustError: the key can't be used.
    """
    client = Client(Registry(url, token))
    publisher, scopes = whoami(client) if token else (None, [])
    if not token:
        client.get("/api/v1/experts", {"limit": 1})  # is it a registry at all?
    told = Told(Path(), publisher, scopes)
    file = key or default_key()
    if make_key and not file.exists():
        new_key(file, password())
        told.made = True
    if publisher and (key is not None or file.exists()):
        told.key, told.key_file = fingerprint(register(client, publisher, file)), file
    elif told.made:
        told.key, told.key_file = fingerprint(public_key(file, password())), file
    told.config = remember(Registry(url, token, publisher, (publisher,) if publisher else ()))
    return told


def whoami(client: Client) -> tuple[str, list[str]]:
    """(name of the publisher, what the token may do).

    :raises RegistryError: the token isn't accepted.
    """
    answer: Any = client.get("/api/v1/whoami")
    try:
        return str(answer["name"]), [str(scope) for scope in answer["scopes"]]
    except (KeyError, TypeError) as error:
        raise RegistryError(f"{client.url} is not a registry of CoGen", hint="check the URL") from error


def register(client: Client, publisher: str, signer: Signer) -> str:
    """Make a key or an identity known as the publisher's; the same again changes nothing. Returns it.

    :raises RegistryError: the registry refuses it. :raises TrustError: it can't be used.
    """
    pem, proof = proven(signer, publisher, password())
    client.send("POST", "/api/v1/keys", json={"pem": pem, "proof": proof})
    return pem


def password() -> str | None:
    """The passphrase of the private key."""
    return os.environ.get(PASSWORD) or None
