"""Whole processes, with their time and the most memory that they had."""

from __future__ import annotations

import json
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
    """Run a command to its end, through `launcher.py`.

    :raises SystemExit: it failed.
    """
    launcher = Path(__file__).with_name("launcher.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(launcher), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout))


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


def settle() -> None:
    """Have the disk finish what was written before, so that no run pays for another's."""
    os.sync()


def touch_memory(size: int) -> None:
    """Have the machine give this much memory once: some virtual machines are slow to give a page for the first time."""
    touch = "import sys; size = int(sys.argv[1]); bytearray(size)[::4096] = bytes(len(range(0, size, 4096)))"
    subprocess.run([sys.executable, "-I", "-S", "-c", touch, str(size)], check=True)


def weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def fresh(folder: Path) -> Path:
    """The folder, without anything in it."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
