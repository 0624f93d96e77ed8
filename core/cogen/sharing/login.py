"""`cogen login`: the token is tried before it is stored, the key is registered with a proof that it is ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.remote.client import Client
from cogen.remote.errors import RegistryError
from cogen.remote.fields import text
from cogen.settings import settings
from cogen.trust import Signer, fingerprint, new_key, prove_succession, proven, public_key
from cogen.trust.registries import Registry, default_key, remember


@dataclass
class LoginResult:
    """What happened."""

    config: Path
    publisher: str | None = None
    scopes: list[str] = field(default_factory=list)
    key: str | None = None
    key_file: Path | None = None
    made: bool = False
    #: Fingerprint of the newest root of its signed metadata; ``None``: it signs nothing, or that can't be read here.
    root: str | None = None
    #: Was the root seen before?
    root_known: bool = False
    #: Why there is no root.
    rootless: str | None = None


def login(
    url: str, token: str | None, *, key: Path | None = None, make_key: bool = False, root_key: str | None = None
) -> LoginResult:
    """Try the registry, pin its root, then store it as the default.

    :param root_key: fingerprint of the root, from its operator; compared before anything is stored or sent.
    :raises RegistryError: it can't be reached, or doesn't take the token. :raises TrustError: the key can't be used, or
        the root is another one.
    """
    from cogen.sharing.names import forget, pinned_identity

    known = pinned_identity(url) is not None
    try:
        return _login(url, token, key, make_key, _rooted(url, root_key, known))
    except BaseException:
        if not known:
            forget(url)
        raise


def _rooted(url: str, root_key: str | None, known: bool) -> LoginResult:
    from cogen.sharing.names import Untold, open_names

    try:
        return LoginResult(Path(), root=open_names(Client(Registry(url)), root_key=root_key).root, root_known=known)
    except Untold as error:
        if root_key is not None or known:
            raise
        return LoginResult(Path(), rootless=error.message)


def _login(url: str, token: str | None, key: Path | None, make_key: bool, result: LoginResult) -> LoginResult:
    client = Client(Registry(url, token))
    if token:
        result.publisher, result.scopes = whoami(client)
    else:
        client.get("/api/v1/experts", {"limit": 1})  # is it a registry at all?
    publisher, file = result.publisher, key or default_key()
    if make_key and not file.exists():
        new_key(file, password())
        result.made = True
    if publisher and (key is not None or file.exists()):
        result.key, result.key_file = fingerprint(register(client, publisher, file)), file
    elif result.made:
        result.key, result.key_file = fingerprint(public_key(file, password())), file
    result.config = remember(Registry(url, token, publisher, (publisher,) if publisher else ()))
    return result


def whoami(client: Client) -> tuple[str, list[str]]:
    """(name of the publisher, what the token may do).

    :raises RegistryError: the token isn't accepted.
    """
    answer: Any = client.get("/api/v1/whoami")
    try:
        return text(answer["name"]), [text(scope) for scope in answer["scopes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"{client.url} is not a registry of CoGen", hint="check the URL") from error


def register(client: Client, publisher: str, signer: Signer, by: Signer | None = None) -> str:
    """Make a key or an identity known as the publisher's; the same again changes nothing. Returns it.

    :param by: a key that the publisher has already, without which the registry takes no further one; ``None``: the
        user's own, if that is another.
    :raises RegistryError: the registry refuses it. :raises TrustError: it can't be used.
    """
    pem, proof = proven(signer, publisher, password())
    body: dict[str, Any] = {"pem": pem, "proof": proof}
    if by is None:
        try:
            client.send("POST", "/api/v1/keys", json=body)
            return pem
        except RegistryError as error:
            own = default_key()
            if error.status != 403 or not own.exists() or signer == own:
                raise
            by = own
    known, agreement = prove_succession(by, publisher, fingerprint(pem), password())
    client.send("POST", "/api/v1/keys", json=body | {"by": {"fingerprint": known, "proof": agreement}})
    return pem


def password() -> str | None:
    """The passphrase of the private key."""
    return settings().key_password
