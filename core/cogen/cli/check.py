"""`cogen check EXPERT`: does a plugin conform to the contract?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.choices import CHECK_LEVELS
from cogen.cli.arguments import choice, expert_ids, starting
from cogen.cli.output import out


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="EXPERT",
            help="Id of an installed expert, or name of its entry point.",
            autocompletion=starting(expert_ids),
        ),
    ],
    level: Annotated[
        str,
        choice(
            "level",
            CHECK_LEVELS,
            "--level",
            help="static: files only. smoke: opens the weights, runs each suite once. full: measures the suites.",
        ),
    ] = "static",
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="The training text (a recipe, folder or file), to search for held-out text in it."
        ),
    ] = None,
    allow_dependency: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="A package that it may require besides cogen-core. Repeatable."),
    ] = None,
) -> None:
    """Test an expert plugin against the contract; the exit code is 1 if a check fails."""
    from cogen.conformance import run_checks

    depth: Any = level
    checks = []
    with out.progress(None, f"checking {name}") as bar:
        for check in run_checks(name, depth, texts=texts, allow=allow_dependency or ()):
            bar.describe(check.name)
            mark = {True: "✓", False: "✗", None: "-"}[check.ok]
            out.text(f"{mark} {check.name}: {check.message}")
            if check.hint and not check.ok:
                out.text(f"    hint: {check.hint}")
            checks.append(check)
    failed = [check.name for check in checks if check.ok is False]
    out.result({"expert": name, "level": level, "passed": not failed, "checks": [asdict(check) for check in checks]})
    if failed:
        out.error(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    out.success(f"{name} passes all {len(checks)} checks of level {level}")
