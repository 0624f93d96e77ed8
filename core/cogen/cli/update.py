"""`cogen update`: a composite with some experts more or less."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.arguments import expert_ids, starting
from cogen.cli.options import LevelOption, Replace
from cogen.cli.progress import CommandReporter

Composite = Annotated[Path, typer.Argument(metavar="COMPOSITE", help="Folder that `cogen fuse` wrote.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the new composite.")]


def command(
    composite: Composite,
    output: Output,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="EXPERT", help="Expert to add. Repeatable.", autocompletion=starting(expert_ids)),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="EXPERT", help="Expert to remove. Repeatable.")
    ] = None,
    level: LevelOption = None,
    replace: Replace = False,
) -> None:
    """Add experts to a composite or remove some; everything else stays as in its lock.

    A mixture keeps its other experts bit for bit where its routers are independent of each other; else it is rebuilt.
    """
    from cogen.api.fusion import update
    from cogen.cli.render import show_composite
    from cogen.cli.render_plan import show_plan
    from cogen.host import Host

    host = Host.discover()

    with CommandReporter("planning") as reporter:
        changed = update(
            composite,
            output,
            add=add or (),
            remove=remove or (),
            level=level,
            replace=replace,
            on_plan=lambda found: show_plan(found, host),
            host=host,
            reporter=reporter,
        )
    show_composite(changed, host)
