"""This Python environment: what is installed, and the tool that installs into it (pip or uv)."""

from __future__ import annotations

import importlib.util
import os
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


def installed_at(project: str, site: Path) -> Distribution | None:
    """The distribution that lies in this folder, where installers put theirs; others may lie elsewhere on the path."""
    from importlib.metadata import distributions

    importlib.invalidate_caches()
    return next(iter(distributions(name=project, path=[str(site)])), None)


def shadows(package: str, site: Path) -> Path | None:
    """What Python would import in the place of a package of this folder: something before it on ``sys.path``."""
    from importlib.machinery import PathFinder

    importlib.invalidate_caches()
    try:
        spec = PathFinder.find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    places = [Path(place) for place in spec.submodule_search_locations or () if place]
    found = places[0] if places else Path(spec.origin or package)
    try:
        same = len(places) == 1 and found.resolve() == (site / package).resolve()
    except (OSError, RuntimeError):
        same = False
    return None if same else found


def editable(found: Distribution) -> bool:
    """Is it a link to a source tree?"""
    return '"editable": true' in (found.read_text("direct_url.json") or "")


@dataclass(frozen=True)
class CommandResult:
    """What to say of a command that was run."""

    command: list[str]
    output: str


def site_packages() -> Path:
    """Where pip and uv put what they install here."""
    import sysconfig

    base = {"base": sys.prefix, "platbase": sys.prefix}
    return Path(sysconfig.get_path("purelib", sysconfig.get_default_scheme(), base))


def scripts() -> Path:
    """Where commands are put."""
    import sysconfig

    base = {"base": sys.prefix, "platbase": sys.prefix}
    return Path(sysconfig.get_path("scripts", sysconfig.get_default_scheme(), base))


def install(wheel: Path, with_: Tool, *, again: bool = False, target: Path | None = None) -> CommandResult:
    """Install exactly this file and nothing else: no index is asked, nothing is built, nothing is compiled.

    :param again: the same version is here: replace its files, too.
    :param target: a folder to put it into in place of the environment.
    :raises InstallError: the tool failed; its own last line is the reason.
    """
    where = ["--target", str(target)] if target is not None else []
    if with_ == "uv":
        # Copied and unpacked anew: uv links installed files to its cache, so who alters one alters both.
        command = [str(_uv()), "pip", "install", "--python", sys.executable, "--no-config", "--offline", "--no-cache"]
        command += ["--no-deps", "--no-index", "--no-build", "--link-mode", "copy", *where]
        return _run([*command, *(["--reinstall-package", _name(wheel)] if again else []), str(wheel)])
    command = [*_pip(), "--isolated", "install", "--no-deps", "--no-index", "--only-binary", ":all:", "--no-compile"]
    command += ["--no-user"] if target is None else []
    return _run([*command, *where, *(["--force-reinstall"] if again else []), str(wheel)])


def install_pinned(requirements: Path, with_: Tool, *, target: Path | None = None) -> CommandResult:
    """Install what a file of ``name==version --hash=…`` lists, wheels alone, from the user's own index.

    :raises InstallError: the tool failed, or a file has another hash.
    """
    where = ["--target", str(target)] if target is not None else []
    listed = ["--no-deps", "--require-hashes", "-r", str(requirements)]
    if with_ == "uv":
        command = [str(_uv()), "pip", "install", "--python", sys.executable, "--link-mode", "copy", "--no-build"]
        return _run([*command, *where, *listed])
    return _run([*_pip(), "install", "--only-binary", ":all:", "--no-compile", *where, *listed])


def pip(*arguments: str) -> CommandResult:
    """Run this environment's pip.

    :raises InstallError: it failed.
    """
    return _run([*_pip(), *arguments])


def uv(*arguments: str) -> str:
    """What uv prints on stdout, for this environment's Python.

    :raises InstallError: it failed.
    """
    return _run([str(_uv()), *arguments, "--python", sys.executable], apart=True).output


def _pip() -> list[str]:
    # -P: a folder called pip in the present directory is not the pip that is meant
    return [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]


def uninstall(project: str, with_: Tool) -> CommandResult:
    """:raises InstallError: the tool failed."""
    if with_ == "uv":
        return _run([str(_uv()), "pip", "uninstall", "--python", sys.executable, project])
    return _run([*_pip(), "uninstall", "--yes", project])


def _run(command: list[str], *, apart: bool = False) -> CommandResult:
    """:param apart: its output goes to stderr: stdout is for results."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(),
        )
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be started: {error.strerror}", hint="is it installed?") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr if apart else done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() or line.startswith("×")] or lines
        tool_name = "uv" if command[1] == "pip" else "pip"
        raise InstallError(
            f"{tool_name} failed: {' '.join(errors[-1:]) or f'exit {done.returncode}'}",
            hint="what an expert depends on comes from the index that your pip or uv is configured for",
        )
    return CommandResult(command, done.stdout)


def _environment() -> dict[str, str]:
    """That of the user, but for what would put files elsewhere or compile them."""
    elsewhere = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "UV_TARGET", "UV_PREFIX", "UV_SYSTEM_PYTHON")
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return kept | {"UV_COMPILE_BYTECODE": "0", "PYTHONDONTWRITEBYTECODE": "1", "PIP_USER": "0"}


def _name(wheel: Path) -> str:
    return wheel.name.partition("-")[0]


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")
