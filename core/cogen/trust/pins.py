"""What this user saw of a registry before: keys of projects, owners of experts' names, keys that were revoked.

    pins.json    {"schema": 1, "registries": {REGISTRY: {"projects": {PROJECT: {"root": {…}, "targets": 3, "key": "…"}},
                                                         "experts": {EXPERT: PROJECT}, "revoked": {KEY: "why"}}}}

REGISTRY is the fingerprint of its first root: its mirrors share it. A pin belongs to a project, not to its publisher:
who renames the publisher makes no key new. ``key``: of a signed release whose project has no chain of keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cogen.files import config_dir
from cogen.trust.errors import TrustError
from cogen.trust.files import write_private
from cogen.trust.registries import alone

NAME = "pins.json"


@dataclass(frozen=True)
class Pin:
    """Of one project. ``root``: TUF's document, as bytes. ``targets``: the version of the list of releases."""

    root: bytes | None = None
    targets: int = 0
    key: str | None = None


@dataclass
class Pins:
    """Of one registry."""

    projects: dict[str, Pin] = field(default_factory=dict)
    experts: dict[str, str] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)


def pins_of(registry: str) -> Pins:
    """Empty, where nothing was seen before.

    :raises TrustError: the file can't be read.
    """
    return _from(_load()["registries"].get(registry, {}))


def update(
    registry: str,
    *,
    projects: dict[str, Pin] | None = None,
    experts: dict[str, str] | None = None,
    revoked: dict[str, str] | None = None,
) -> None:
    """Add what was seen now. A project's old pin is replaced, a revocation is never taken back."""
    with alone():
        document = _load()
        known = _from(document["registries"].get(registry, {}))
        changed = Pins(
            {**known.projects, **(projects or {})},
            {**known.experts, **(experts or {})},
            {**(revoked or {}), **known.revoked},
        )
        if changed != known:
            document["registries"][registry] = _to(changed)
            write_private(config_dir() / NAME, json.dumps(document, indent=1, sort_keys=True) + "\n")


def revert(registry: str, before: Pins, *, projects: Iterable[str], experts: Iterable[str]) -> None:
    """Take back what was added of these; what others added meanwhile, and every revocation, stays."""
    with alone():
        document = _load()
        known = _from(document["registries"].get(registry, {}))
        for name in projects:
            _put(known.projects, name, before.projects.get(name))
        for name in experts:
            _put(known.experts, name, before.experts.get(name))
        document["registries"][registry] = _to(known)
        write_private(config_dir() / NAME, json.dumps(document, indent=1, sort_keys=True) + "\n")


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value


def forget(registry: str) -> None:
    """Take back what was noted of a registry of which nothing was installed."""
    path = config_dir() / NAME
    if not path.exists():
        return
    with alone():
        document = _load()
        known = _from(document["registries"].get(registry, {}))
        if known.projects or known.experts or document["registries"].pop(registry, None) is None:
            return
        if document["registries"]:
            write_private(path, json.dumps(document, indent=1, sort_keys=True) + "\n")
        else:
            path.unlink()


def _load() -> dict[str, Any]:
    path = config_dir() / NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["schema"] != 1 or not isinstance(value["registries"], dict):
            raise ValueError("it is of a newer CoGen")
        for one in value["registries"].values():
            _from(one)
    except FileNotFoundError:
        return {"schema": 1, "registries": {}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # Never taken for empty: every key would look like a first one.
        raise TrustError(
            f"{path} cannot be read: {error}", hint="restore it; it holds the keys that you trust"
        ) from error
    return dict(value)


def _from(value: dict[str, Any]) -> Pins:
    projects = {
        str(name): Pin(
            None if one.get("root") is None else json.dumps(one["root"]).encode(),
            int(one.get("targets", 0)),
            one.get("key"),
        )
        for name, one in value.get("projects", {}).items()
    }
    return Pins(projects, dict(value.get("experts", {})), dict(value.get("revoked", {})))


def _to(pins: Pins) -> dict[str, Any]:
    projects = {
        name: {
            key: value
            for key, value in (
                ("root", None if pin.root is None else json.loads(pin.root)),
                ("targets", pin.targets),
                ("key", pin.key),
            )
            if value is not None
        }
        for name, pin in pins.projects.items()
    }
    return {"projects": projects, "experts": pins.experts, "revoked": pins.revoked}
