"""Whole processes, with their time and the most memory that they had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """``peak`` is the largest resident set of the process itself, in bytes, as the kernel accounted it."""

    seconds: float
    peak: int


def timed(command: Sequence[str], environment: dict[str, str] | None = None) -> Measured:
    """Run a command to its end.

    :raises SystemExit: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()  # to its end; what is left is to wait
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{told.decode()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(seconds, usage.ru_maxrss * unit)


def read_all(files: Iterable[Path]) -> int:
    """Read files to their end, so that they are in the page cache; how many bytes they have."""
    buffer = bytearray(1 << 24)
    total = 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return total


def copy_time(inputs: Sequence[Path], output: Path, size: int, sync: bool) -> float:
    """Seconds to read all inputs and to write ``size`` bytes of what was read: what no merge of them can go below."""
    buffer = bytearray(1 << 24)
    began = time.perf_counter()
    left = size
    with output.open("wb", buffering=0) as out:
        for path in inputs:
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    if left > 0:
                        left -= out.write(memoryview(buffer)[: min(count, left)])
        if sync:
            os.fsync(out.fileno())
    seconds = time.perf_counter() - began
    output.unlink()
    return seconds


def touch_memory(size: int) -> None:
    """Have the machine give this much memory once: some virtual machines are slow to give a page for the first time."""
    block = bytearray(size)
    block[::4096] = b"\1" * len(range(0, size, 4096))


def weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def fresh(folder: Path) -> Path:
    """The folder, without anything in it."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
