"""`cogen purge`: remove the bytes of a release of your own for good."""

from __future__ import annotations

from typing import Annotated

import typer

from cogen.cli.output import out


def command(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME==VERSION", help="A release; or NAMESPACE/NAME, a repository of weights."),
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line: everybody who asks is shown it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Registry to use instead of the one that you logged in to.")
    ] = None,
) -> None:
    """Remove a release of your own from the registry for good: its file, its manifest, what was measured of it.

    Name and version stay taken. Copies that others made, and backups, are out of the registry's reach.
    """
    from cogen.remote.client import Client
    from cogen.sharing import withdraw
    from cogen.sharing.registry import required

    client = Client(required(registry))
    repository = "/" in name and "==" not in name
    what = name.strip() if repository else withdraw.release_name(client, name)
    if not out.confirm(f"remove {what} from {client.url} for good? Nobody can restore it.", yes=yes):
        raise typer.Exit(1)
    withdraw.purge(client, what, reason)
    out.success(f"{what} is purged from {client.url}")
    out.result({"purged": str(what), "reason": reason})
