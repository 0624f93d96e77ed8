"""Replay a lock at 1 and at 2 threads with every cache deleted: are all files that hold weights the same bits?

    cogen fuse && python benchmarks/replay.py composite/cogen.lock --json replay.json

Each replay runs in a process and with a cache folder of its own, so the base is fetched and converted anew each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def replay(lock: Path, threads: int, folder: Path) -> tuple[dict[str, str], float]:
    """(file name → SHA-256 of every file with weights, seconds) of one replay with nothing in the cache."""
    settings = {"COGEN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    command = [sys.executable, "-m", "cogen", "fuse", "--lock", str(lock), "--level", "none", "-o", str(folder / "out")]
    subprocess.run(command, check=True, env=os.environ | settings, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    files = sorted((folder / "out").glob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}, took


def main() -> int:
    """Print a line a replay and whether they agree; exit 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = []
    for threads in arguments.threads:
        with tempfile.TemporaryDirectory() as folder:
            digests, seconds = replay(arguments.lock.resolve(), threads, Path(folder))
        runs.append({"threads": threads, "seconds": round(seconds, 1), "sha256": digests})
        for name, digest in digests.items():
            print(f"{threads} threads  {seconds:6.1f} s  {digest}  {name}")
    locked = json.loads(arguments.lock.read_text())["files"]
    known = {name: digest.removeprefix("sha256:") for name, digest in locked.items() if name.endswith(".safetensors")}
    same = all(run["sha256"] == known for run in runs)
    print("identical to the lock" if same else "NOT identical to the lock")
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": runs, "locked": known, "identical": same}, indent=2) + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
