"""`cogen yank`: hide a release of your own from resolvers."""

from __future__ import annotations

from typing import Annotated

import typer

from cogen.cli.output import out
from cogen.errors import UsageError


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME==VERSION", help="A release: an expert's id or its distribution's name.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line: everybody who asks is shown it.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Show it again.")] = False,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Registry to use instead of the one that you logged in to.")
    ] = None,
) -> None:
    """Hide a release from resolvers; whoever asks for exactly this version still gets it.

    Its bytes stay at the registry, and `--undo` reverses it. `cogen purge` removes the bytes.
    """
    from cogen.remote.client import Client
    from cogen.sharing import withdraw
    from cogen.sharing.registry import required

    if undo and reason:
        raise UsageError("--undo and --reason exclude each other", hint="leave --reason out")
    client = Client(required(registry))
    release = withdraw.release_name(client, name)
    if undo:
        withdraw.undo_yank(client, release)
    else:
        withdraw.yank(client, release, reason)
    out.success(f"{release} is {'shown again' if undo else 'yanked'} at {client.url}")
    out.result(
        {"project": release.project, "version": release.version, "yanked": not undo, "reason": None if undo else reason}
    )
