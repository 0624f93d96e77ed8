"""`cogen check EXPERT`: does a plugin conform to the contract?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.choices import CHECK_LEVELS
from cogen.cli.arguments import AllowDependency, choice, expert_ids, starting
from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.conformance import Check
    from cogen.conformance.tree import Tree

Fix = Annotated[
    bool,
    typer.Option("--fix", help="First write into expert.toml what can be computed: digests, sizes, relation, dtype."),
]


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
    allow_dependency: AllowDependency = None,
    fix: Fix = False,
) -> None:
    """Test an expert plugin against the contract; the exit code is 1 if a check fails.

    A folder is checked where it lies, without being installed. At the level static its wheel is then built and checked
    as `cogen publish` would, and nothing is sent. The packing list shows every file that leaves, with the text in it.
    """
    from cogen.cli.check_folder import show_check

    changes = _fix(name) if fix else []
    allowed = tuple(allow_dependency or ())
    tree = _tree(name)
    checks = []
    with out.progress(None, f"checking {name}") as bar:
        for check in _checks(name, tree, level, texts, allowed):
            bar.describe(check.name)
            show_check(asdict(check))
            checks.append(check)
    failed = [check.name for check in checks if check.ok is False]
    answer: dict[str, Any] = {"expert": name, "level": level, "checks": [asdict(check) for check in checks]}
    if fix:
        answer["changes"] = changes
    if tree is None:
        answer["packing"] = _packing(name)
    elif not failed and level == "static" and texts is None:
        from cogen.cli.check_folder import check_wheel_of

        more, found = check_wheel_of(tree.folder, allowed)
        answer |= more
        failed = found
    out.result(answer | {"passed": not failed})
    if failed:
        out.error(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    out.success(f"{name} passes all {len(checks)} checks of level {level}")


def _tree(name: str) -> Tree | None:
    """The source tree that is meant; ``None``: an installed expert."""
    from cogen.conformance.tree import tree_of
    from cogen.host import Host

    if any(plugin.name == name for plugin in Host.discover().plugins) and not Path(name).is_dir():
        return None
    return tree_of(name)


def _checks(name: str, tree: Tree | None, level: str, texts: Path | None, allow: Sequence[str]) -> Iterator[Check]:
    from cogen.conformance import check_tree, run_checks
    from cogen.host import Host

    depth: Any = level
    if tree is None:
        return run_checks(name, depth, texts=texts, allow=allow)
    return check_tree(tree, depth, Host.discover(), texts)


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
