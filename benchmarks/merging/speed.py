"""Time and memory of both tools as whole processes, in turn, on the same files."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from merging import checkpoints, ours, processes
from merging.peer import Mergekit
from merging.recipes import Recipe

#: What mergekit's time is to be divided by at least, by the issue that asked for the engine.
TARGETS = {"linear": 4.0, "slerp": 4.0, "ties": 5.0, "dare_ties": 5.0}
#: And linear's time over that of reading the same bytes and writing them, to the disk (`fsync`) as cogen does.
COPY_TARGET = 1.5
MEMORY_TARGET = 0.8e9

_WEIGHTS = {name: {"weight": weight} for name, weight in (("a", 0.5), ("b", 0.3), ("c", 0.2))}
RECIPES = {
    "linear": Recipe("linear", _WEIGHTS),
    "slerp": Recipe("slerp", {"a": {}, "b": {}}, "a", {"t": 0.4}),
    "task_arithmetic": Recipe("task_arithmetic", _WEIGHTS, "base"),
    "ties": Recipe("ties", _WEIGHTS, "base", {"density": 0.5}),
    "dare_ties": Recipe("dare_ties", _WEIGHTS, "base", {"density": 0.5}),
}


def compare(
    peer: Mergekit | None, folder: Path, methods: Sequence[str], runs: int, layers: int, threads: int | None = None
) -> list[dict[str, Any]]:
    """A row a method. Models are kept in ``folder`` for the next time; results are removed."""
    models = checkpoints.large(folder / f"llama-{layers}", layers)
    rows = []
    for method in methods:
        recipe = folder / f"{method}.yml"
        recipe.write_text(RECIPES[method].text(models))
        rows.append(_row(method, recipe, _read_by(RECIPES[method], models), peer, folder, runs, threads))
        print_row(rows[-1])
    return rows


def _read_by(recipe: Recipe, models: dict[str, Path]) -> list[Path]:
    """The weight files that the method has to read."""
    names = dict.fromkeys([*recipe.models, *([] if recipe.base is None else [recipe.base])])
    return [file for name in names for file in processes.weights(models[name])]


def _row(
    method: str, recipe: Path, inputs: list[Path], peer: Mergekit | None, folder: Path, runs: int, threads: int | None
) -> dict[str, Any]:
    out = folder / "out"
    size = checkpoints.bytes_of(inputs[0].parent)
    own_options = {} if threads is None else {"threads": threads}
    read = processes.read_all(inputs)
    processes.touch_memory(2 * size)
    processes.copy_time(inputs, folder / "copy", size, sync=False)  # the first write of a file is the slowest
    ours_runs, peer_runs, copies, synced = [], [], [], []
    for _ in range(runs):
        processes.settle()
        copies.append(processes.copy_time(inputs, folder / "copy", size, sync=False))
        ours_runs.append(processes.timed(ours.command(recipe, processes.fresh(out), **own_options)))
        if peer is not None:
            command = peer.command(recipe, processes.fresh(out))
            processes.settle()
            peer_runs.append(processes.timed(command, peer.environment()))
        processes.settle()
        synced.append(processes.copy_time(inputs, folder / "copy", size, sync=True))
    processes.fresh(out)
    found: dict[str, Any] = {
        "method": method,
        "bytes read": read,
        "bytes written": size,
        "copy": copies,
        "copy and sync": synced,
        "ours": [run.seconds for run in ours_runs],
        "ours peak": max(run.peak for run in ours_runs),
        "mergekit": [run.seconds for run in peer_runs],
        "mergekit peak": max((run.peak for run in peer_runs), default=0),
        "cores": os.cpu_count(),
    }
    return found | _ratios(found)


def _ratios(found: dict[str, Any]) -> dict[str, Any]:
    own, copy = (statistics.median(found[key]) for key in ("ours", "copy and sync"))
    ratio = statistics.median(found["mergekit"]) / own if found["mergekit"] else None
    good = found["ours peak"] <= MEMORY_TARGET
    if ratio is not None:
        good &= ratio >= TARGETS.get(found["method"], 0.0)
    if found["method"] == "linear":
        good &= own <= COPY_TARGET * copy
    return {"mergekit over ours": ratio, "ours over copy": own / copy, "good": good}


def print_row(row: dict[str, Any]) -> None:
    def seconds(values: list[float]) -> str:
        return f"{statistics.median(values):7.1f} s ({min(values):.1f} to {max(values):.1f})" if values else "      -"

    print(f"\n{row['method']}: reads {row['bytes read'] / 1e9:.2f} GB, writes {row['bytes written'] / 1e9:.2f} GB")
    print(f"  cogen           {seconds(row['ours'])}, {row['ours peak'] / 1e9:.2f} GB")
    if row["mergekit"]:
        print(f"  mergekit        {seconds(row['mergekit'])}, {row['mergekit peak'] / 1e9:.2f} GB")
        target = TARGETS.get(row["method"])
        print(f"  mergekit/cogen  {row['mergekit over ours']:7.1f}" + (f" (at least {target:g})" if target else ""))
    print(f"  copy and fsync  {seconds(row['copy and sync'])}; without fsync {seconds(row['copy'])}")
    target = f" (at most {COPY_TARGET:g})" if row["method"] == "linear" else ""
    print(
        f"  cogen/copy      {row['ours over copy']:7.1f}{target}" + ("" if row["good"] else "   TARGET MISSED"),
        flush=True,
    )
