"""`cogen remove`: the distribution, its receipt, its entry in the project's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from cogen.errors import UsageError
from cogen.host import Host
from cogen.sharing import environment, project
from cogen.sharing.placement import check_own
from cogen.sharing.snapshot import recover
from cogen.trust.receipts import forget, receipts
from cogen.wheels.names import PREFIX


@dataclass(frozen=True)
class RemovalTarget:
    """A distribution and the experts that it brings."""

    project: str
    experts: list[str]


@dataclass(frozen=True)
class Done:
    """What there was to take away."""

    uninstalled: bool
    recorded: bool
    receipt: bool


def target(name: str, file: Path) -> RemovalTarget:
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
    return RemovalTarget(wanted, sorted(brings[wanted]))


def remove(name: str, file: Path, with_: environment.Tool) -> Done:
    """Uninstall first: where that fails, everything else stays as it is.

    :raises InstallError: pip or uv failed, or its RECORD names files of others, which they would delete.
    """
    recover()
    found = environment.installed(name)
    uninstalled = found is not None
    if found is not None:
        if not environment.editable(found) and str(canonicalize_name(name)).startswith(PREFIX):
            check_own(found, str(canonicalize_name(name)))
        environment.uninstall(name, with_)
    return Done(uninstalled, project.unrecord(file, name), forget(name))
