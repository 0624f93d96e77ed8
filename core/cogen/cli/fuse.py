"""`cogen fuse`: build one model out of the installed experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.arguments import with_groups
from cogen.cli.former import FormerVerbs
from cogen.cli.options import Experts, FuseArguments, Output, Replace
from cogen.cli.progress import CommandReporter
from cogen.cli.values import read_experts


@with_groups
def command(
    options: FuseArguments,
    former: FormerVerbs,
    experts: Experts = None,
    output: Output = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Build a plan that `cogen plan -o` saved, as it was reviewed."),
    ] = None,
    lock: Annotated[
        Path | None,
        typer.Option("--lock", metavar="FILE", help="Replay a cogen.lock: no search, bit-identical weights."),
    ] = None,
    replace: Replace = False,
) -> None:
    """Build one model out of the installed experts, measure it, and write a report.

    Without arguments: every installed expert, into ./composite, measured at the level quick.
    """
    from cogen.api.fusion import fuse
    from cogen.cli.render import show_composite
    from cogen.cli.render_plan import show_plan
    from cogen.host import Host

    others = {"EXPERT": experts, "--plan": plan, "--lock": lock, **dict.fromkeys(options.typed(), True)}
    if former.run(others, output, options.level):
        return
    replay = None
    if lock is not None:
        from cogen.artifacts.lock import read_lock

        replay = read_lock(lock)
    host = Host.discover()
    with CommandReporter("planning") as reporter:
        composite = fuse(
            read_experts(experts),
            output or Path("composite"),
            plan=plan,
            lock=lock,
            replace=replace,
            on_plan=lambda found: show_plan(found, host, replay),
            host=host,
            reporter=reporter,
            **options.keywords(),
        )
    show_composite(composite, host)
