"""`cogen remove`: uninstall an expert and take it out of the project's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out


def command(
    name: Annotated[str, typer.Argument(help="An expert's id, or its distribution.")],
    project: Annotated[Path, typer.Option(help="The file that records it.")] = Path("cogen.toml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask where other experts go with it.")] = False,
    with_: Annotated[str | None, typer.Option("--with", help="pip or uv; default: what made this environment.")] = None,
) -> None:
    """Uninstall the distribution of an expert, and forget its receipt and its entry in the project's file."""
    from cogen.sharing import environment
    from cogen.sharing.remove import remove, target

    found = target(name, project)
    others = [expert for expert in found.experts if expert not in (name, found.project)]
    if others and name != found.project:
        question = f"{found.project} also brings {', '.join(others)}: remove all of it?"
        if not out.confirm(question, yes=yes):
            raise typer.Exit(1)
    done = remove(found.project, project, environment.tool(with_))
    words = [
        text for text, is_so in (("uninstalled", done.uninstalled), (f"taken out of {project}", done.recorded)) if is_so
    ]
    out.success(f"{found.project}: {' and '.join(words) or 'its receipt is gone'}")
    out.result(
        {
            "project": found.project,
            "experts": found.experts,
            "uninstalled": done.uninstalled,
            "recorded": done.recorded,
            "receipt": done.receipt,
        }
    )
