"""`cogen check EXPERT`: does a plugin conform to the contract?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.choices import CHECK_LEVELS
from cogen.cli.arguments import choice, expert_ids, starting
from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.conformance import Check


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="EXPERT",
            help="Id of an installed expert, or the folder of a plugin.",
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
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="First write into expert.toml what can be computed: digests, sizes, relation, dtype."
        ),
    ] = False,
) -> None:
    """Test an expert plugin against the contract; the exit code is 1 if a check fails.

    A folder is checked where it lies, without being installed; what importing it does, `cogen publish` checks.
    """
    changes = _fix(name) if fix else []
    checks = []
    with out.progress(None, f"checking {name}") as bar:
        for check in _checks(name, level, texts, allow_dependency or ()):
            bar.describe(check.name)
            mark = {True: "✓", False: "✗", None: "-"}[check.ok]
            out.text(f"{mark} {check.name}: {check.message}")
            if check.hint and not check.ok:
                out.text(f"    hint: {check.hint}")
            checks.append(check)
    failed = [check.name for check in checks if check.ok is False]
    answer = {"expert": name, "level": level, "passed": not failed, "checks": [asdict(check) for check in checks]}
    out.result(answer | ({"changes": changes} if fix else {}))
    if failed:
        out.error(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    out.success(f"{name} passes all {len(checks)} checks of level {level}")


def _checks(name: str, level: str, texts: Path | None, allow: Sequence[str]) -> Iterator[Check]:
    """Of an installed expert, or of a source tree where that is what the name means."""
    from cogen.conformance import check_tree, run_checks
    from cogen.conformance.tree import tree_of
    from cogen.host import Host

    depth: Any = level
    host = Host.discover()
    installed = any(plugin.name == name for plugin in host.plugins) and not Path(name).is_dir()
    tree = None if installed else tree_of(name)
    if tree is None:
        return run_checks(name, depth, host, texts, allow)
    return check_tree(tree, depth, host, texts)


def _fix(name: str) -> list[dict[str, Any]]:
    """Mend the manifest; each change as JSON."""
    from cogen.api.plugins import fix
    from cogen.cli.progress import CommandReporter

    with CommandReporter("computing") as reporter:
        changes = fix(name, reporter=reporter)
    for change in changes:
        out.text(f"fixed {change}")
    if not changes:
        out.text("nothing to fix: all that can be computed is right")
    return [asdict(change) for change in changes]
