"""One `cogen` process and what it took, by the operating system's own accounting."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cogen


def measured(arguments: list[str], site: Path, cache: Path) -> dict[str, Any]:
    """Wall seconds, CPU seconds and peak resident bytes of `cogen ARGUMENTS` with the plugins of ``site``.

    :raises RuntimeError: it failed; the message is its own.
    """
    path = os.pathsep.join([str(site), str(Path(cogen.__file__).parent.parent)])
    env = {**os.environ, "PYTHONPATH": path, "COGEN_CACHE": str(cache)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "cogen", *arguments], env=env, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
        if process.returncode:
            err.seek(0)
            raise RuntimeError(f"cogen {' '.join(arguments)}: {err.read().decode(errors='replace')[-2000:]}")
        out.seek(0, os.SEEK_END)
        printed = out.tell()
    return {
        "wall": round(wall, 2),
        "cpu": round(used.ru_utime + used.ru_stime, 2),
        "peak_bytes": used.ru_maxrss * 1024,
        "printed_bytes": printed,
    }


def bytes_in(folder: Path) -> dict[str, int]:
    """Size of every file of a folder, by name; and ``total``."""
    found = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    return found | {"total": sum(found.values())}
