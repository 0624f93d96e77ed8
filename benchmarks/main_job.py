"""Time and memory of the main job: `cogen fuse` with every installed expert, base already downloaded.

    python benchmarks/main_job.py --runs 3 --json main_job.json

Each run has an empty cache of results (the converted base and the fetched weights are kept), so that every figure is
measured anew. Memory is the peak resident size of the process, by the operating system's accounting of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(level: str, cache: Path) -> dict[str, object]:
    """One `cogen fuse` in a process of its own: seconds, and what it reports of itself."""
    shutil.rmtree(cache / "results", ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cogen", "fuse", "--json", "--level", level, "-o", f"{folder}/composite"]
        began = time.perf_counter()
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"COGEN_CACHE": str(cache)}
        )
        seconds = time.perf_counter() - began
    result = json.loads(done.stdout)
    return {
        "seconds": round(seconds, 1),
        "stages": result["seconds"],
        "scale": result["scale"],
        "matrix": result["matrix"],
    }


def main() -> None:
    """Print every run, the median, and the peak memory of the largest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--level", default="quick")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    from cogen.files import cache_dir

    subprocess.run([sys.executable, "-m", "cogen", "plan"], check=True, stdout=subprocess.DEVNULL)  # fetches the base
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        shutil.copytree(
            cache_dir(), cache, ignore=shutil.ignore_patterns("results", "corpora", "train", ".candidates*")
        )
        runs = [run(arguments.level, cache) for _ in range(arguments.runs)]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    seconds = [float(str(found["seconds"])) for found in runs]
    for found in runs:
        print(f"{found['seconds']} s  {found['stages']}")
    print(
        f"median {statistics.median(seconds):.0f} s (min {min(seconds):.0f}, max {max(seconds):.0f}, n {len(seconds)})"
    )
    print(f"peak memory {peak / 1e9:.2f} GB; {os.cpu_count()} cores, {platform.machine()}")
    if arguments.json:
        facts = {"runs": runs, "peak_bytes": peak, "cores": os.cpu_count(), "machine": platform.machine()}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
