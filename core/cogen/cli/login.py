"""`cogen login`: log in to a registry, store its token, register the signing key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cogen.cli.output import out
from cogen.errors import UsageError
from cogen.settings import settings

if TYPE_CHECKING:
    from cogen.sharing.login import LoginResult


def command(
    url: Annotated[str, typer.Argument(metavar="URL", help="The registry, such as https://models.example.org.")],
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="From the registry's operator; default: COGEN_TOKEN, or a prompt."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Without a token: search, add and verify only.")
    ] = False,
    new_key: Annotated[bool, typer.Option("--new-key", help="Create a key pair if there is none yet.")] = False,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key (PEM); default: the one that --new-key created.")
    ] = None,
    root_key: Annotated[
        str | None,
        typer.Option(metavar="FINGERPRINT", help="Expected root key of the registry, as its operator published it."),
    ] = None,
) -> None:
    """Log in to a registry and make it the default; register your public key there if you have one.

    The token is stored in a file that only you can read (mode 0600).

    The passphrase of a key is taken from COGEN_KEY_PASSWORD.
    """
    from cogen.sharing.login import login
    from cogen.trust.registries import is_private, normal_url

    url = normal_url(url)
    if not is_private(url):
        out.warn(f"{url} is not encrypted: anyone on the network can read the token and change what you download")
    secret = None if read_only else token or settings().token or _ask()
    result = login(url, secret, key=key, make_key=new_key, root_key=root_key)
    _show_root(result, url, compared=root_key is not None)
    _show_account(result, url)
    out.result(
        {
            "url": url,
            "publisher": result.publisher,
            "scopes": result.scopes,
            "key": result.key,
            "config": str(result.config),
            "root": result.root,
            "root_known": result.root_known,
        }
    )


def _show_root(result: LoginResult, url: str, *, compared: bool) -> None:
    if result.rootless:
        out.warn(f"{result.rootless}: whoever answers in its place can choose what you get")
    elif compared:
        out.status(f"the root of {url} is {result.root}, as its operator published it")
    elif not result.root_known:
        out.status(
            f"trusting the root {result.root} of {url} on first use: compare it with what its operator publishes"
        )


def _show_account(result: LoginResult, url: str) -> None:
    if result.made:
        out.status(f"created a new key at {result.key_file}; keep a copy, nobody can restore it")
    if result.publisher:
        scopes = ", ".join(result.scopes) or "none"
        out.success(f"logged in to {url} as {result.publisher}; scopes of the token: {scopes}")
    else:
        out.success(f"{url} is now the default registry; no token was stored")
    if result.key:
        out.status(f"signing with the key {result.key}; publish this fingerprint where your users can see it")
    elif result.publisher:
        out.hint("`cogen login --new-key` creates a signing key; so does `cogen publish`")


def _ask() -> str:
    if not sys.stdin.isatty() or out.mode != "human":
        raise UsageError("no token was given", hint="pass --token TOKEN, set COGEN_TOKEN, or use --read-only")
    import getpass

    return getpass.getpass("token: ", out.stderr).strip()
