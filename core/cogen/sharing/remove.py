"""`cogen remove`: the distribution, its receipt, its entry in the project's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from cogen.errors import UsageError
from cogen.host import Host
from cogen.sharing import environment, project
from cogen.sharing.snapshot import recover
from cogen.trust.receipts import forget, receipts


@dataclass(frozen=True)
class Target:
    """A distribution and the experts that it brings."""

    project: str
    experts: list[str]


@dataclass(frozen=True)
class Done:
    """What there was to take away."""

    uninstalled: bool
    recorded: bool
    receipt: bool


def target(name: str, file: Path) -> Target:
    """The distribution of an expert, or of that name.

    :raises UsageError: it is neither installed nor recorded.
    """
    brings: dict[str, set[str]] = {}
    for plugin in Host.discover().plugins:
        brings.setdefault(str(canonicalize_name(plugin.distribution)), set()).add(plugin.name)
    for receipt in receipts():
        brings.setdefault(receipt.project, set()).update(receipt.experts)
    for recorded in project.recorded(file):
        brings.setdefault(recorded, set())
    wanted = next((owner for owner, experts in brings.items() if name in experts), str(canonicalize_name(name)))
    if wanted not in brings:
        raise UsageError(f"{name} is not installed and not in {file}", hint="`cogen list` shows what is installed")
    return Target(wanted, sorted(brings[wanted]))


def remove(name: str, file: Path, with_: environment.Tool) -> Done:
    """Uninstall first: where that fails, everything else stays as it is.

    :raises InstallError: pip or uv failed.
    """
    recover()
    uninstalled = environment.installed(name) is not None
    if uninstalled:
        environment.uninstall(name, with_)
    return Done(uninstalled, project.unrecord(file, name), forget(name))
