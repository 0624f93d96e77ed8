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
            help="Id of an installed expert, or name of its entry point; or the folder of a plugin's source tree.",
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
    """Test an expert plugin against the contract; the exit code is 1 if a check fails.

    Of a folder, the wheel is built and checked as `cogen publish` would, and nothing is sent; the packing list shows
    every file that would leave, with the text in it.
    """
    allowed = tuple(allow_dependency or ())
    from cogen.cli.check_folder import check_folder, show_check

    if (Path(name) / "pyproject.toml").is_file():
        check_folder(Path(name), level, texts, allowed)
        return
    from cogen.conformance import run_checks

    depth: Any = level
    checks = []
    with out.progress(None, f"checking {name}") as bar:
        for check in run_checks(name, depth, texts=texts, allow=allowed):
            bar.describe(check.name)
            show_check(asdict(check))
            checks.append(check)
    failed = [check.name for check in checks if check.ok is False]
    packing = _packing(name)
    data = {"expert": name, "level": level, "passed": not failed, "checks": [asdict(check) for check in checks]}
    out.result(data | {"packing": packing})
    if failed:
        out.error(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    out.success(f"{name} passes all {len(checks)} checks of level {level}")


def _packing(name: str) -> dict[str, Any] | None:
    """Show what the package of an installed expert holds; for ``--json``."""
    from cogen.cli.render_packing import packing_data, packing_lines
    from cogen.conformance import find
    from cogen.host import Host
    from cogen.sharing.publishing.packing import of_installed

    plugin = find(Host.discover(), name)
    if plugin.expert is None or plugin.state != "ok":
        return None
    packing = of_installed(plugin.expert)
    for line in packing_lines(packing):
        out.text(line)
    return packing_data(packing)
