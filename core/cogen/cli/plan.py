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
    from cogen.cli.render_plan import show_plan
    from cogen.errors import UsageError
    from cogen.files import atomic_write
    from cogen.fusion.details import to_version_1
    from cogen.fusion.strategies import strategy_of
    from cogen.host import Host

    host = Host.discover()
    with CommandReporter("planning") as reporter:
        found = plan(read_experts(experts), host=host, reporter=reporter, **options.keywords())
    writes_model = strategy_of(found, host).writes_model
    if output is not None and not writes_model:
        raise UsageError(f"strategy {found.strategy} fuses nothing: no plan to save", hint="save the recipe instead")
    show_plan(found, host)
    if output is not None:
        atomic_write(output, (found.model_dump_json(indent=2) + "\n").encode())
        out.success(f"wrote {output}; build it with `cogen fuse --plan {output}`")
    fields = found.model_dump(mode="json")
    # What version 1 had in the place of ``details`` stays beside it: ``mixture`` and ``distillation``, and of a plan
    # that writes no model the fields themselves.
    former = to_version_1(fields) if writes_model else fields["details"]
    out.result({**former, **fields, "digest": found.digest})
