"""This Python environment: what is installed, and the tool that installs into it (pip or uv)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from cogen.errors import CogenError, UsageError

Tool = Literal["pip", "uv"]


class InstallError(CogenError):
    """pip or uv could not do it."""


def tool(wanted: str | None = None) -> Tool:
    """The tool that was asked for, or the one that made this environment.

    :raises UsageError: it is none of the two, or not there.
    """
    if wanted not in (None, "pip", "uv"):
        raise UsageError(f"--with {wanted}: it is pip or uv", hint="leave it out: the right one is found")
    if wanted:
        if not (_uv() if wanted == "uv" else _has_pip()):
            raise UsageError(f"{wanted} is not here", hint="install it, or leave out --with")
        return wanted  # type: ignore[return-value]
    found = installed("cogen-core")
    made_by = (found.read_text("INSTALLER") or "").strip() if found else ""
    if _uv() and (made_by == "uv" or not _has_pip()):
        return "uv"
    if _has_pip():
        return "pip"
    raise InstallError("this environment has neither pip nor uv", hint="run `python -m ensurepip`")


def installed(project: str) -> Distribution | None:
    """The distribution of this environment, by any spelling of its name."""
    importlib.invalidate_caches()
    try:
        return distribution(project)
    except PackageNotFoundError:
        return None


def editable(found: Distribution) -> bool:
    """Is it a link to a source tree?"""
    return '"editable": true' in (found.read_text("direct_url.json") or "")


@dataclass(frozen=True)
class Outcome:
    """What to say of a command that was run."""

    command: list[str]
    output: str


def install(wheel: Path, with_: Tool, *, again: bool) -> Outcome:
    """Install exactly this file; what it depends on comes from the user's own index.

    :param again: the same version is here: replace its files, too.
    :raises InstallError: the tool failed; its own last line is the reason.
    """
    if with_ == "uv":
        # Copied and unpacked anew: uv links installed files to its cache, so who alters one alters both.
        fresh = ["--link-mode", "copy", "--refresh-package", _name(wheel)]
        command = [str(_uv()), "pip", "install", "--python", sys.executable, *fresh]
        return _run([*command, *(["--reinstall-package", _name(wheel)] if again else []), str(wheel)])
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if again:  # pip leaves a version alone that is there; this replaces its files and nothing else
        _run([*command, "--no-deps", "--force-reinstall", str(wheel)])
    return _run([*command, str(wheel)])


def uninstall(project: str, with_: Tool) -> Outcome:
    """:raises InstallError: the tool failed."""
    if with_ == "uv":
        return _run([str(_uv()), "pip", "uninstall", "--python", sys.executable, project])
    return _run([sys.executable, "-m", "pip", "uninstall", "--disable-pip-version-check", "--yes", project])


def _run(command: list[str]) -> Outcome:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be started: {error.strerror}", hint="is it installed?") from error
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        told = [line for line in lines if "error" in line.lower() or line.startswith("×")] or lines
        tool_name = "uv" if command[1] == "pip" else "pip"
        raise InstallError(
            f"{tool_name} failed: {' '.join(told[-1:]) or f'exit {done.returncode}'}",
            hint="what an expert depends on comes from the index that your pip or uv is configured for",
        )
    return Outcome(command, done.stdout)


def _name(wheel: Path) -> str:
    return wheel.name.partition("-")[0]


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")
