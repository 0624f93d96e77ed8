"""`cogen login`: name a registry, store its token, register the key that releases are signed with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out
from cogen.errors import UsageError
from cogen.settings import settings


def command(
    url: Annotated[str, typer.Argument(help="Of the registry, such as https://models.example.org.")],
    token: Annotated[
        str | None, typer.Option(help="From the registry's operator; default: COGEN_TOKEN, or you are asked.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="No token: search, add and verify only.")] = False,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make a key pair if there is none yet.")] = False,
    key: Annotated[Path | None, typer.Option(help="Private key in PEM; default: the one that --new-key made.")] = None,
    root_key: Annotated[
        str | None,
        typer.Option(help="Fingerprint of the registry's root, as its operator told you: compared first."),
    ] = None,
) -> None:
    """Remember a registry (0600) and make it the default; register your public key there if you have one.

    The passphrase of a key is taken from COGEN_KEY_PASSWORD.
    """
    from cogen.sharing.login import login
    from cogen.trust.registries import is_private, normal_url

    url = normal_url(url)
    if not is_private(url):
        out.warn(f"{url} is not encrypted: who listens can read the token and change what you download")
    secret = None if read_only else token or settings().token or _ask()
    told = login(url, secret, key=key, make_key=new_key, root_key=root_key)
    if told.rootless:
        out.warn(f"{told.rootless}: whoever answers in its place can choose what you get")
    elif root_key is not None:
        out.status(f"the root of {url} is {told.root}, as its operator told you")
    elif not told.root_known:
        out.status(f"trusting the root {told.root} of {url} for the first time: compare it with what its operator says")
    if told.made:
        out.status(f"made a new key at {told.key_file}; keep a copy, nobody can restore it")
    if told.publisher:
        scopes = ", ".join(told.scopes) or "nothing"
        out.success(f"logged in at {url} as {told.publisher}; the token may do: {scopes}")
    else:
        out.success(f"{url} is the registry from now on; no token was stored")
    if told.key:
        out.status(f"signing with the key {told.key}; publish this fingerprint where your users can see it")
    elif told.publisher:
        out.hint("`cogen login` with --new-key makes a key to sign with; `cogen publish` does it too")
    out.result(
        {
            "url": url,
            "publisher": told.publisher,
            "scopes": told.scopes,
            "key": told.key,
            "config": str(told.config),
            "root": told.root,
            "root_known": told.root_known,
        }
    )


def _ask() -> str:
    if not sys.stdin.isatty() or out.mode != "human":
        raise UsageError("no token was given", hint="--token TOKEN, COGEN_TOKEN, or --read-only to go without")
    import getpass

    return getpass.getpass("token: ", out.stderr).strip()
