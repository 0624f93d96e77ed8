"""A user of the command line with settings, a cache and a virtual environment of his own."""

from __future__ import annotations

import hashlib
import json
import shutil
import site
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cogen
from cogen.cli.main import main
from support import shelf
from support.hub import Registry


@dataclass
class CommandOutput:
    """What a command did."""

    code: int
    data: Any
    error: str


class User:
    """``user("add", "power")`` runs a verb in this process, as if it ran in the user's environment.

    The environment sees the packages of the running one behind its own, pip too. It looks as if uv had made it, where
    uv is there: it is twenty times quicker.
    """

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.env, self._patch, self._capsys = home, home / "env", monkeypatch, capsys
        venv.create(self.env, symlinks=True)
        (self.packages,) = self.env.glob("[Ll]ib/**/site-packages")
        seen = [*site.getsitepackages(), str(Path(cogen.__file__).parent.parent)]
        (self.packages / "running.pth").write_text("\n".join(seen) + "\n")
        self.project = home / "cogen.toml"
        core = self.packages / "cogen_core-0.1.0.dist-info"
        core.mkdir()
        (core / "METADATA").write_text("Metadata-Version: 2.1\nName: cogen-core\nVersion: 0.1.0\n")
        (core / "INSTALLER").write_text("uv" if shutil.which("uv") else "pip")

    @contextmanager
    def there(self) -> Iterator[None]:
        """What runs in the block runs as if it ran in this user's environment, home and settings."""
        with self._patch.context() as patch:
            patch.setenv("COGEN_CONFIG", str(self.home / "config"))
            patch.setenv("COGEN_CACHE", str(self.home / "cache"))
            patch.setenv("HF_HUB_OFFLINE", "0")
            patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
            patch.setattr(sys, "prefix", str(self.env))
            patch.setattr(sys, "executable", str(self.env / "bin" / "python"))
            patch.setattr(sys, "path", [str(self.packages), *sys.path])
            patch.chdir(self.home)
            yield

    def __call__(self, *arguments: str) -> CommandOutput:
        with self.there():
            self._capsys.readouterr()
            code = main([*arguments, "--json"])
        reported = self._capsys.readouterr()
        return CommandOutput(code, json.loads(reported.out) if reported.out.strip() else None, reported.err)

    def whole(self) -> dict[str, tuple[int, str]]:
        """Every file and link of the environment, and what the user has beside it: mode and bytes.

        But the cache, and the signed metadata of registries: that a newer one was seen is never to be forgotten.
        """
        found = {}
        for top in (self.env, self.home / "config", self.project):
            for path in [top, *top.rglob("*")]:
                seen = path.is_relative_to(self.home / "config" / "tuf")
                if not seen and (path.is_symlink() or path.is_file()):
                    content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
                    found[str(path)] = (path.lstat().st_mode, hashlib.sha256(content).hexdigest())
        return found

    def ok(self, *arguments: str) -> Any:
        """The answer of a command that has to succeed."""
        output = self(*arguments)
        assert output.code == 0, (output.data, output.error)
        return output.data

    def refused(self, *arguments: str, code: int = 1) -> str:
        """``error | hint`` of a command that has to fail, in one line each."""
        output = self(*arguments)
        assert output.code == code, (output.data, output.error)
        text = f"{output.data['error']} | {output.data['hint']}"
        assert output.data["hint"]
        assert "\n" not in text
        return text

    def installed(self) -> list[str]:
        """What is in the environment's own site-packages."""
        return sorted(path.name for path in self.packages.glob("cogen_plugin_*.dist-info"))

    def trace(self) -> dict[str, Any]:
        """All that an add writes down."""
        receipts = self.env / "share" / "cogen" / "receipts"
        return {
            "installed": self.installed(),
            "receipts": sorted(path.name for path in receipts.iterdir()) if receipts.is_dir() else [],
            "project": self.project.read_text() if self.project.exists() else "",
        }

    def forget_cache(self) -> None:
        shutil.rmtree(self.home / "cache", ignore_errors=True)


#: Makes a user by name.
Users = Callable[[str], User]


def token(registry: Registry, publisher: str) -> str:
    """A new secret of a publisher, who is added if he is new."""
    return shelf.token(registry.service, publisher)["Authorization"].removeprefix("Bearer ")


def publisher(registry: Registry, users: Users, name: str) -> User:
    """A user who is logged in as a publisher of this name and has a key."""
    user = users(name)
    user.ok("login", registry.url, "--token", token(registry, name), "--new-key")
    return user
