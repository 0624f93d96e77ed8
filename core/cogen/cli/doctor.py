"""`cogen doctor`: diagnose plugins and the environment."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.host import Host, Plugin

_PACKAGES = (
    "cogen-core",
    "torch",
    "transformers",
    "peft",
    "lm-eval",
    "safetensors",
    "huggingface-hub",
    "pydantic",
    "pluggy",
)


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One plugin, by expert or distribution; default: all.")
    ] = None,
) -> None:
    """Diagnose plugins and the environment; the exit code is 1 if a plugin cannot be used.

    Plugin code is imported in separate processes, so that it cannot end this one.
    """
    from cogen.errors import UsageError
    from cogen.host import Host
    from cogen.host.scan import canonical

    host = Host.discover()
    plugins = [
        _examine(p) for p in host.plugins if name is None or canonical(name) in (p.name, canonical(p.distribution))
    ]
    if name is not None and not plugins:
        raise UsageError(f"no plugin is called {name!r}", hint="`cogen doctor` lists all of them")
    environment = _environment()
    if name is None:
        _show_environment(environment, host)
    for plugin in plugins:
        _show_plugin(plugin, full=name is not None)
    bad = [p for p in plugins if p["state"] not in ("ok", "blocked")]
    shadowed = [vars(item) for item in host.shadowed]
    out.result({"environment": environment, "plugins": plugins, "installed_twice": shadowed, "healthy": not bad})
    if bad:
        out.status(f"{len(bad)} of {len(plugins)} plugins cannot be used")
        raise typer.Exit(1)
    out.success(f"{len(plugins)} plugins, no problems found")


def _examine(plugin: Plugin) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "expert": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "reason": plugin.reason,
        "hint": plugin.hint,
        "package": str(plugin.root) if plugin.root else None,
        "kind": "code" if plugin.code else "data",
        "traceback": None,
        "hooks": [],
        "warnings": [],
    }
    if plugin.state == "ok" and plugin.expert is not None:
        from cogen.conformance.private_text import shipped_with_personal_data

        seen["warnings"] = list(shipped_with_personal_data(plugin.expert.spec))
    if plugin.state == "ok" and plugin.code:
        from cogen.host.probe import probe

        found = probe(plugin)
        seen |= {"hooks": list(found.hooks), "traceback": found.traceback}
        if found.reason:
            seen |= {"state": "broken", "reason": found.reason, "hint": found.hint}
    return seen


def _environment() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    from cogen.files import cache_dir

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    folder = cache_dir(make=False)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "prefix": sys.prefix,
        "packages": versions,
        "cache": str(folder),
        "cache_writable": os.access(there, os.W_OK),
        "cache_free_gb": round(shutil.disk_usage(there).free / 1e9, 1),
        "settings": {key: value for key, value in sorted(os.environ.items()) if key.startswith("COGEN_")},
    }


def _show_environment(environment: dict[str, Any], host: Host) -> None:
    out.text(f"Python {environment['python']} on {environment['platform']}")
    out.text(", ".join(f"{name} {version or 'MISSING'}" for name, version in environment["packages"].items()))
    writable = "" if environment["cache_writable"] else ", NOT WRITABLE: set COGEN_CACHE to another folder"
    out.text(f"cache: {environment['cache']} ({environment['cache_free_gb']} GB free{writable})")
    for key, value in environment["settings"].items():
        out.text(f"{key}={value}")
    for item in host.shadowed:
        out.warn(
            f"{item.distribution} is installed twice: {item.used} is used, {item.location} ({item.version}) is not"
        )
        out.hint("remove the one that is not needed, often a stale .egg-info folder")
    out.text()


def _show_plugin(plugin: dict[str, Any], *, full: bool) -> None:
    mark = {"ok": "✓", "blocked": "-"}.get(plugin["state"], "✗")
    hooks = f", hooks: {', '.join(plugin['hooks'])}" if plugin["hooks"] else ""
    out.text(f"{mark} {plugin['expert']} ({plugin['distribution']} {plugin['version']}): {plugin['state']}{hooks}")
    if plugin["reason"]:
        out.text(f"    {plugin['reason']}")
    if plugin["hint"]:
        out.text(f"    hint: {plugin['hint']}")
    for warning in plugin["warnings"]:
        out.warn(f"{plugin['expert']}: {warning}")
        out.hint("it stays usable; no registry accepts such a version any longer: ask its publisher about it")
    if full:
        out.text(f"    package: {plugin['package'] or 'not found'} ({plugin['kind']})")
        if plugin["traceback"]:
            out.text("\n" + plugin["traceback"].rstrip())
