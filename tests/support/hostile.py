"""A wheel that a hostile registry sends, whatever was asked for, and what `cogen add` does with it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cogen.sharing import add, environment
from cogen.sharing.resolve import Release


class Sender(SimpleNamespace):
    """Stands for a client of a registry that sends this file, whatever was asked for."""

    def __init__(self, wheel: Path) -> None:
        super().__init__(url="https://evil.example", wheel=wheel)

    def download(self, path: str, target: Path, **_: Any) -> None:
        shutil.copyfile(self.wheel, target)


def release(wheel: Path) -> Release:
    project, version = wheel.name.split("-")[:2]
    data = wheel.read_bytes()
    return Release(
        project=project.replace("_", "-"),
        version=version,
        filename=wheel.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        publisher="evil",
        yanked=False,
        signature=None,
        expert=project.removeprefix("cogen_plugin_"),
    )


def add_file(wheel: Path, tool: environment.Tool = "uv", **consent: Any) -> Any:
    """What `cogen add` does with a wheel that the registry says is right."""
    client: Any = Sender(wheel)
    file = Path("cogen.toml")
    verified = add.fetch(
        client, release(wheel), None, weights=False, consent=add.consented(release(wheel), file, **consent)
    )
    return add.install(client, add.prepare(verified, tool), tool, file)
