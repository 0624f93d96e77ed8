"""`cogen plan`: what a fusion would do, in order, with costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.arguments import with_groups
from cogen.cli.options import Experts, FuseArguments
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter
from cogen.cli.values import read_experts


@with_groups
def command(
    options: FuseArguments,
    experts: Experts = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Save the plan as JSON for `cogen fuse --plan`."),
    ] = None,
) -> None:
    """Show what `cogen fuse` would do with the same arguments, and what it costs. Nothing is built."""
    from cogen.api.fusion import plan
    from cogen.cli.render import plan_json, show_plan
    from cogen.files import atomic_write

    with CommandReporter("planning") as reporter:
        found = plan(read_experts(experts), reporter=reporter, **options.keywords())
    show_plan(found)
    if output is not None:
        if found.strategy == "route":
            from cogen.errors import UsageError

            raise UsageError("strategy route fuses nothing: there is no plan to save", hint="save the recipe instead")
        atomic_write(output, (found.model_dump_json(indent=2) + "\n").encode())
        out.success(f"wrote {output}; build it with `cogen fuse --plan {output}`")
    out.result(plan_json(found))
