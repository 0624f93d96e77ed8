"""`cogen new NAME`: a whole plugin to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out


def command(
    name: Annotated[str, typer.Argument(help="Id of the expert: a-z, 0-9 and -.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; cogen-plugin-NAME by default.")] = None,
    base: Annotated[str, typer.Option(help="The model to train from.")] = "smollm2-135m-instruct",
    title: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    publisher: Annotated[str, typer.Option(help="Who publishes it.")] = "unknown",
) -> None:
    """Start an expert plugin of your own: a package that passes `cogen check` as it is.

    It holds a real adapter that changes nothing until it is trained, and starter texts for you to replace.
    """
    from cogen.scaffold import create

    name = name.removeprefix("cogen-plugin-")
    folder = output or Path(f"cogen-plugin-{name}")
    create(name, folder, base=base, title=title or name.replace("-", " ").capitalize(), publisher=publisher)
    steps = [
        f"pip install -e {folder}",
        f"cogen check {name}",
        f"read {folder / 'README.md'}: from here to your own expert",
    ]
    out.success(f"made {folder}, an expert that equals its base until you train it")
    out.text("next:")
    for step in steps:
        out.text(f"  {step}")
    out.result({"expert": name, "folder": str(folder), "next": steps})
