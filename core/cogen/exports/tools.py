"""Other people's programs: which one is missing and how to get it, and one line of what a failed one said."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from cogen.errors import CogenError, MissingExtraError


class ExportError(CogenError):
    """A tool that converts or quantizes did not do it, or did something else."""


def need_module(module: str, what: str, extra: str) -> None:
    """:raises MissingExtraError: ``module`` is not installed."""
    if find_spec(module) is None:
        raise MissingExtraError(f"{what} needs {module}", hint=f'pip install "cogen-core[{extra}]"')


def version(distribution: str) -> str:
    """``name version``, for cards and the keys of cached figures."""
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return distribution


def run_tool(command: Sequence[str], name: str, *, env: Mapping[str, str] | None = None, hint: str) -> None:
    """Run a program whose output matters only if it fails.

    :raises ExportError: it failed; the message has the last line that it wrote.
    """
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, errors="replace", env={**os.environ, **(env or {})}
        )
    except OSError as error:
        raise ExportError(f"{name} cannot be started: {error.strerror}", hint=hint) from error
    if done.returncode:
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        reason = f": {lines[-1][:300]}" if lines else f" with exit code {done.returncode}"
        raise ExportError(f"{name} failed{reason}", hint=hint)


def weight_bytes(folder: Path) -> int:
    """Bytes of the files with weights."""
    kinds = (".safetensors", ".gguf", ".onnx", ".data")
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in kinds)
