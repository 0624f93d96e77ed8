"""Does a plugin keep the contract? Checks are values: `cogen check` prints them, a plugin's tests assert them.

    for check in run_checks("power", level="static"):
        assert check.ok, check.message

Levels: ``static`` reads files and imports the plugin in a process of its own (no weights); ``smoke`` opens the
weights and compares digests and shapes; ``full`` measures the suites and compares them with the publisher's claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from cogen.conformance.result import Check
from cogen.errors import UsageError
from cogen.host import Host, Plugin

Level = Literal["static", "smoke", "full"]

__all__ = ["Check", "Level", "find", "run_checks"]


def find(host: Host, name: str) -> Plugin:
    """The plugin with this entry point.

    :raises UsageError: nothing of this name is installed.
    """
    for plugin in host.plugins:
        if plugin.name == name:
            return plugin
    names = ", ".join(plugin.name for plugin in host.plugins) or "none"
    raise UsageError(f"no plugin {name!r} is installed", hint=f"pip install it first; installed: {names}")


def run_checks(name: str, level: Level = "static", host: Host | None = None) -> Iterator[Check]:
    """Check one installed plugin; the checks of a level come after those of the levels below it.

    :raises UsageError: it is not installed. Everything else that is wrong is a :class:`Check` that is not ok.
    """
    from cogen.conformance import static

    plugin = find(host or Host.discover(), name)
    failed = False
    for check in static.checks(plugin):
        failed |= check.ok is False
        yield check
    expert = plugin.expert
    if level == "static" or expert is None:
        return
    if failed:
        yield Check("weights", None, "not opened, because of what is wrong above")
        return
    from cogen.conformance import weights

    yield from weights.smoke(expert)
    if level == "full":
        yield from weights.full(expert)
