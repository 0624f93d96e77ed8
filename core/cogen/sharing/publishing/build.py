"""A wheel, or a source archive, out of a source tree, in isolation, by whichever tool is here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cogen.errors import CogenError, UsageError

#: 1980-01-01, the first moment that a zip file can name: the same sources give the same bytes, today and tomorrow.
_EPOCH = "315532800"


class BuildError(CogenError):
    """The source tree cannot be built."""


def build_wheel(folder: Path, place: Path) -> Path:
    """Build ``folder`` and put the wheel into ``place``.

    :raises UsageError: it is not a Python project. :raises BuildError: the build failed; its last line is the reason.
    """
    return _build(folder, place, "wheel", "*.whl")


def build_sdist(folder: Path, place: Path) -> Path:
    """Build the source archive of ``folder`` into ``place``: to look into it, never to publish it.

    :raises UsageError: it is not a Python project. :raises BuildError: the build failed, or pip alone is installed.
    """
    return _build(folder, place, "sdist", "*.tar.gz")


def _build(folder: Path, place: Path, kind: str, pattern: str) -> Path:
    if not (folder / "pyproject.toml").is_file():
        raise UsageError(f"{folder} holds no pyproject.toml", hint="name the folder of your plugin (see `cogen new`)")
    with tempfile.TemporaryDirectory(prefix="cogen-build-") as out:
        command = _command(folder, out, kind)
        environment = {"SOURCE_DATE_EPOCH": _EPOCH, **os.environ}
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
            )
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be started: {error.strerror}", hint="is it installed?") from error
        found = list(Path(out).glob(pattern))
        if done.returncode or len(found) != 1:
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            errors = [line for line in lines if "error" in line.lower()] or lines
            raise BuildError(
                f"building {folder} failed: {' '.join(errors[-1:]) or f'exit {done.returncode}'}",
                hint=f"run it yourself to see all of it: {_shown(command)}; it needs your package index",
            )
        place.mkdir(parents=True, exist_ok=True)
        part = place / f".{found[0].name}.part"
        shutil.move(found[0], part)
        return part.replace(place / found[0].name)


def _command(folder: Path, out: str, kind: str) -> list[str]:
    python = [sys.executable, "-m"]
    if importlib.util.find_spec("build"):
        return [*python, "build", f"--{kind}", "--outdir", out, str(folder)]
    if kind == "wheel" and importlib.util.find_spec("pip"):
        flags = ["--disable-pip-version-check", "--no-input", "--no-deps"]
        return [*python, "pip", "wheel", *flags, "--wheel-dir", out, str(folder)]
    if uv := shutil.which("uv"):
        return [uv, "build", f"--{kind}", "--out-dir", out, str(folder)]
    raise BuildError(f"no build frontend found for a {kind}", hint="pip install build")


def _shown(command: list[str]) -> str:
    """Its first words, as somebody would type them."""
    return f"{Path(command[0]).name} {' '.join(command[1:3])} …"
