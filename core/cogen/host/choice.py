"""The user's settings, and what they and the contract make of the plugins that were found.

COGEN_PLUGINS=a,b        only these distributions or experts (empty: none at all)
COGEN_BLOCK=a,b          all but these
COGEN_PREFER=id=dist     which distribution provides an expert that two of them offer
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from cogen.errors import UsageError
from cogen.host.plugin import Plugin
from cogen.host.scan import canonical
from cogen.settings import settings


def choose(plugins: Iterable[Plugin]) -> list[Plugin]:
    """Apply the settings: block what is left out, then mark duplicates.

    :raises UsageError: a setting names what is not installed; to ignore that could use what was meant to be blocked.
    """
    chosen = list(plugins)
    wanted = settings()
    allowed = _canonical(wanted.plugins, chosen, "COGEN_PLUGINS")
    if allowed is not None:
        chosen = [p if _matches(p, allowed) else _block(p, "COGEN_PLUGINS does not name it") for p in chosen]
    blocked = _canonical(wanted.block, chosen, "COGEN_BLOCK")
    if blocked:
        chosen = [_block(p, "COGEN_BLOCK names it") if _matches(p, blocked) else p for p in chosen]
    return _mark_duplicates(chosen, _preferences(chosen, wanted.prefer))


def _mark_duplicates(plugins: list[Plugin], preferred: dict[str, str]) -> list[Plugin]:
    """Never last-wins: what two distributions offer is used from neither until the user has picked one."""
    usable: dict[str, list[Plugin]] = {}
    for plugin in plugins:
        if plugin.state == "ok":
            usable.setdefault(plugin.name, []).append(plugin)
    marked = []
    for plugin in plugins:
        rivals = [p.distribution for p in usable.get(plugin.name, []) if p is not plugin]
        if plugin.state != "ok" or not rivals:
            marked.append(plugin)
        elif (pick := preferred.get(plugin.name)) is None:
            marked.append(
                replace(
                    plugin,
                    state="duplicate",
                    reason=f"{' and '.join(rivals)} offers an expert of the same name",
                    hint=f"pick one with COGEN_PREFER={plugin.name}={plugin.distribution}, or uninstall the other",
                )
            )
        elif canonical(plugin.distribution) == pick:
            marked.append(plugin)
        else:
            marked.append(replace(plugin, state="duplicate", reason=f"COGEN_PREFER picks {pick} instead", hint=None))
    return marked


def _canonical(named: tuple[str, ...] | None, plugins: list[Plugin], variable: str) -> set[str] | None:
    """Canonical names in a setting, each of them known; ``None`` where it is not set."""
    if named is None:
        return None
    names = {canonical(name) for name in named}
    for name in sorted(names):
        _known(name, plugins, variable)
    return names


def _preferences(plugins: list[Plugin], items: tuple[str, ...]) -> dict[str, str]:
    picks: dict[str, str] = {}
    for item in items:
        expert, separator, distribution = (part.strip() for part in item.partition("="))
        if not separator or not expert or not distribution:
            raise UsageError(
                f"COGEN_PREFER: {item!r} is not of the form id=distribution", hint="COGEN_PREFER=power=dist-a"
            )
        pick = canonical(distribution)
        if not any(p.name == expert and canonical(p.distribution) == pick for p in plugins):
            raise UsageError(
                f"COGEN_PREFER: no installed distribution {distribution!r} offers {expert!r}",
                hint="`cogen doctor` lists what is installed",
            )
        picks[expert] = pick
    return picks


def _known(name: str, plugins: list[Plugin], variable: str) -> None:
    names = {canonical(p.distribution) for p in plugins} | {canonical(p.name) for p in plugins}
    if name not in names:
        near = difflib.get_close_matches(name, sorted(names), 1)
        hint = f"did you mean {near[0]!r}?" if near else "`cogen doctor` lists what is installed"
        raise UsageError(f"{variable}: no plugin or distribution is called {name!r}", hint=hint)


def _matches(plugin: Plugin, names: set[str]) -> bool:
    return canonical(plugin.distribution) in names or canonical(plugin.name) in names


def _block(plugin: Plugin, reason: str) -> Plugin:
    return replace(plugin, state="blocked", reason=reason, hint=None)
