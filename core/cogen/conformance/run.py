"""The checks of one plugin, level by level."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from cogen.conformance import static
from cogen.conformance.result import Check, attempt
from cogen.conformance.tree import Tree, importable
from cogen.errors import UsageError
from cogen.extras import require
from cogen.host import Expert, Host, Plugin

Level = Literal["static", "smoke", "full"]


def find(host: Host, name: str) -> Plugin:
    """The plugin with this entry point.

    :raises UsageError: nothing of this name is installed.
    """
    for plugin in host.plugins:
        if plugin.name == name:
            return plugin
    names = ", ".join(plugin.name for plugin in host.plugins) or "none"
    raise UsageError(f"no plugin {name!r} is installed", hint=f"pip install it first; installed: {names}")


def run_checks(
    name: str,
    level: Level = "static",
    host: Host | None = None,
    texts: Path | None = None,
    allow: Collection[str] = (),
) -> Iterator[Check]:
    """Check one installed plugin; the checks of a level come after those of the levels below it.

    :param texts: the training text, where it is at hand: a recipe of ``cogen train``, a folder or a file. It is
        compared with the held-out text and goes nowhere.
    :param allow: distributions that it may require beside cogen-core.
    :raises UsageError: it is not installed, or there are no such texts. :raises MissingExtraError: the level opens
        weights, and the libraries for it are not installed. Everything else that is wrong is a :class:`Check` that is
        not ok.
    """
    if level != "static":
        require("fuse", f"cogen check --level {level}")
    host = host or Host.discover()
    plugin = find(host, name)
    if texts is not None and not texts.exists():
        raise UsageError(f"{texts} is not there", hint="name a recipe, a folder of texts or a text file")
    checks = static.checks(plugin, allow)
    yield from _checks(host, checks, plugin.expert, level, texts)


def check_tree(
    tree: Tree, level: Level = "static", host: Host | None = None, texts: Path | None = None
) -> Iterator[Check]:
    """As :func:`run_checks`, of a source tree that is not installed: what only an installed distribution shows (its
    metadata, what importing it does) is checked by `cogen publish` on the wheel.

    :raises UsageError, MissingExtraError: as :func:`run_checks`.
    """
    if level != "static":
        require("fuse", f"cogen check --level {level}")
    if texts is not None and not texts.exists():
        raise UsageError(f"{texts} is not there", hint="name a recipe, a folder of texts or a text file")
    outcome = list(attempt("manifest", lambda: f"valid, id {tree.expert().id}"))
    yield from outcome
    if not outcome[0].ok:
        return
    expert = tree.expert()
    with importable(tree):
        yield from _checks(host or Host.discover(), static.expert_checks(expert), expert, level, texts, tree.folder)


def _checks(
    host: Host,
    checks: Iterator[Check],
    expert: Expert | None,
    level: Level,
    texts: Path | None,
    home: Path | None = None,
) -> Iterator[Check]:
    """``home``: folder of the project, where a recipe may lie."""
    failed = False
    for check in checks:
        failed |= check.ok is False and check.name != "unfinished"  # weights are looked at before the card is written
        yield check
    if expert is None:
        return
    home = texts.parent if texts is not None and texts.suffix == ".toml" else home
    if home is not None:
        from cogen.conformance.private_runs import check_private_runs, package_files

        for check in check_private_runs(package_files(expert.root), home):
            failed |= check.ok is False
            yield check
    if texts is not None and not failed:
        from cogen.conformance.training_text import compare_training, read_training

        yield from attempt("training text", lambda: compare_training(expert, read_training(texts)))
    if level == "static":
        return
    if failed:
        yield Check("weights", None, "not opened, because of what is wrong above")
        return
    from cogen.conformance import weights

    opened = weights.Opened(host, expert)
    for check in weights.smoke(opened):
        failed |= check.ok is False
        yield check
    if level == "full":
        from cogen.conformance.audit import check_audit

        yield from check_audit(expert)
        if failed:
            yield Check("claims", None, "not measured, because of what is wrong above")
            return
        yield from weights.full(opened)
