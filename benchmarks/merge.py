"""The merge engine beside mergekit 0.1.5: correctness, speed, memory and reproducibility.

    python benchmarks/merge.py correctness --json correctness.json
    python benchmarks/merge.py speed --work /fast/disk --runs 3 --json speed.json
    python benchmarks/merge.py memory --work /fast/disk
    python benchmarks/merge.py bits

mergekit is installed into an environment of its own (``--peer-env``), never into this one. What each part does and
prints is in benchmarks/README.md. Exit code 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from merging.peer import VERSION, Mergekit


def correctness(arguments: argparse.Namespace, peer: Mergekit) -> tuple[dict[str, Any], bool]:
    """Both tools against float64, the table of departures, the random methods."""
    from merging import chance, correctness, departures

    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        rows = correctness.compare(peer, Path(folder) / "cases", arguments.full)
        correctness.show(rows)
        entries = departures.check(peer, Path(folder) / "departures")
        departures.show(entries)
        drawn = chance.compare(Path(folder) / "chance")
        chance.show(drawn)
    good = all(row.good for row in rows) and all(row["verdict"] == "agrees" for row in drawn)
    good &= all(entry["observed"] and entry["ours as documented"] for entry in entries)
    return {"cases": correctness.facts(rows), "departures": entries, "random": drawn}, good


def speed(arguments: argparse.Namespace, peer: Mergekit | None) -> tuple[dict[str, Any], bool]:
    """Whole processes on large models."""
    from merging import speed

    layers = 2 if arguments.quick else arguments.layers
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        methods = arguments.methods or list(speed.RECIPES)
        rows = speed.compare(peer, work, methods, arguments.runs, layers, arguments.threads)
    return {"layers": layers, "methods": rows}, arguments.quick or all(row["good"] for row in rows)


def memory(arguments: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Peak memory on one huge tensor."""
    from merging import memory

    with tempfile.TemporaryDirectory() as folder:
        rows = 8_000 if arguments.quick else 128_256
        found = memory.measure(arguments.work or Path(folder), arguments.methods, rows, arguments.threads)
    return {"rows": rows, "methods": found}, all(row["good"] for row in found)


def bits(arguments: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """The same bits however it is computed."""
    from merging import bits

    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        rows = bits.compare(Path(folder))
    return {"methods": rows}, all(row["same"] for row in rows)


def main() -> int:
    """Run what was asked for, print it, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=["correctness", "speed", "memory", "bits", "all"])
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--peer-env", type=Path, help="mergekit's environment, made if it is not there")
    parser.add_argument("--work", type=Path, help="folder for models and results (speed: 14 GB, memory: 6 GB)")
    parser.add_argument("--methods", nargs="+", default=[], help="speed and memory: only these")
    parser.add_argument("--runs", type=int, default=3, help="speed: runs of each tool (default 3)")
    parser.add_argument("--layers", type=int, default=24, help="speed: layers of the models (default 24: 2.7 GB each)")
    parser.add_argument("--threads", type=int, help="threads of cogen (default: its own choice)")
    parser.add_argument("--quick", action="store_true", help="speed and memory: much smaller models, no targets")
    parser.add_argument("--full", action="store_true", help="correctness: all recipes on all architectures")
    parser.add_argument("--alone", action="store_true", help="speed: without mergekit")
    arguments = parser.parse_args()
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

    parts = ["correctness", "bits", "memory", "speed"] if arguments.part == "all" else [arguments.part]
    needs_peer = "correctness" in parts or ("speed" in parts and not arguments.alone)
    peer = Mergekit(arguments.peer_env or default_environment()) if needs_peer else None
    facts: dict[str, Any] = {"mergekit": VERSION, "cores": os.cpu_count(), "machine": platform.machine()}
    good = True
    for part in parts:
        if part == "correctness":
            assert peer is not None
            facts[part], passed = correctness(arguments, peer)
        elif part == "speed":
            facts[part], passed = speed(arguments, None if arguments.alone else peer)
        else:
            facts[part], passed = {"memory": memory, "bits": bits}[part](arguments)
        print(f"\n{part}: {'all as it must be' if passed else 'NOT as it must be'}", flush=True)
        good &= passed
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2, default=plain) + "\n")
    return 0 if good else 1


def plain(value: Any) -> Any:
    """numpy's numbers as Python's."""
    return value.item()


def default_environment() -> Path:
    """A folder of this version's own in the cache."""
    from platformdirs import user_cache_path

    return user_cache_path("cogen") / "benchmarks" / f"mergekit-{VERSION}"


if __name__ == "__main__":
    raise SystemExit(main())
