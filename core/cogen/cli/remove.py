"""`cogen remove`: uninstall an expert and remove it from the project file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An expert's id, or its distribution's name.")],
    project: Annotated[Path, typer.Option(metavar="FILE", help="The project file that records it.")] = Path(
        "cogen.toml"
    ),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask where other experts are removed with it.")
    ] = False,
    with_: Annotated[
        str | None,
        typer.Option("--with", metavar="pip|uv", help="Installer; default: the one that made this environment."),
    ] = None,
) -> None:
    """Uninstall an expert's distribution, and delete its receipt and its entry in the project file."""
    from cogen.sharing import environment
    from cogen.sharing.remove import remove, target

    found = target(name, project)
    others = [expert for expert in found.experts if expert not in (name, found.project)]
    if others and name != found.project:
        question = f"{found.project} also contains {', '.join(others)}: remove all of them?"
        if not out.confirm(question, yes=yes):
            raise typer.Exit(1)
    done = remove(found.project, project, environment.tool(with_))
    words = [
        text for text, is_so in (("uninstalled", done.uninstalled), (f"removed from {project}", done.recorded)) if is_so
    ]
    out.success(f"{found.project}: {' and '.join(words) or 'its receipt was deleted'}")
    out.result(
        {
            "project": found.project,
            "experts": found.experts,
            "uninstalled": done.uninstalled,
            "recorded": done.recorded,
            "receipt": done.receipt,
        }
    )
