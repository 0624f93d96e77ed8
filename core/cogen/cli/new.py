"""`cogen new NAME`: a complete expert plugin to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id of the expert: a-z, 0-9 and -.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to create; default: cogen-plugin-NAME.")
    ] = None,
    base: Annotated[str, typer.Option(metavar="MODEL", help="Base model to train from.")] = "smollm2-135m-instruct",
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Human-readable name.")] = None,
    publisher: Annotated[str, typer.Option(metavar="NAME", help="Publisher; default: left open as TODO.")] = "TODO",
    license: Annotated[
        str, typer.Option(metavar="SPDX", help="License of the model; default: left open as TODO.")
    ] = "TODO",
) -> None:
    """Create an expert plugin to start from: package, training recipe and placeholder texts.

    It contains a real adapter that changes nothing until it is trained. What you have to decide says TODO.
    """
    from cogen.scaffold import create

    name = name.removeprefix("cogen-plugin-")
    folder = output or Path(f"cogen-plugin-{name}")
    title = title or name.replace("-", " ").capitalize()
    create(name, folder, base=base, title=title, publisher=publisher, license=license)
    steps = [
        f"put your texts into {folder / 'texts'}",
        f"replace every TODO in {folder / 'recipe.toml'}",
        f"cogen train {folder / 'recipe.toml'}",
        f"pip install -e {folder} && cogen check {name}",
    ]
    out.success(f"created {folder}, an expert that equals its base until you train it")
    out.text("next:")
    for step in steps:
        out.text(f"  {step}")
    out.result({"expert": name, "folder": str(folder), "next": steps})
