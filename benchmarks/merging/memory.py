"""Peak memory of our methods on one tensor of 128,256 × 4,096 of each of four models (1.05 GB each in bfloat16)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from merging import checkpoints, ours, processes
from merging.recipes import Recipe
from merging.speed import MEMORY_TARGET

_WEIGHTS = {name: {"weight": weight} for name, weight in (("a", 0.5), ("b", 0.3), ("c", 0.2))}
_NAMES: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}}
_PAIR: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
_TWO = {name: _WEIGHTS[name] for name in "ab"}
_HALF = {"density": 0.5}

#: Every method that works on blocks, in the form that has to know most of the whole tensor.
RECIPES = {
    "linear": Recipe("linear", _WEIGHTS),
    "passthrough": Recipe("passthrough", {"a": {"scale": 0.5}}),
    "slerp": Recipe("slerp", _PAIR, "a", {"t": 0.4}),
    "nuslerp": Recipe("nuslerp", _TWO, "base"),
    "nuslerp columns": Recipe("nuslerp", _TWO, None, {"nuslerp_flatten": False}),
    "multislerp": Recipe("multislerp", _WEIGHTS, "base"),
    "karcher": Recipe("karcher", _NAMES),
    "task_arithmetic": Recipe("task_arithmetic", _WEIGHTS, "base"),
    "ties": Recipe("ties", _WEIGHTS, "base", _HALF),
    "dare_linear": Recipe("dare_linear", _WEIGHTS, "base", _HALF),
    "dare_ties": Recipe("dare_ties", _WEIGHTS, "base", _HALF),
    "della": Recipe("della", _WEIGHTS, "base", _HALF),
    "della_linear": Recipe("della_linear", _WEIGHTS, "base", _HALF),
    "breadcrumbs": Recipe("breadcrumbs", _WEIGHTS, "base", _HALF),
    "breadcrumbs_ties": Recipe("breadcrumbs_ties", _WEIGHTS, "base", _HALF),
    "sce": Recipe("sce", _NAMES, "base", {"select_topk": 0.5}),
    "ram": Recipe("ram", _NAMES, "base"),
    "ramplus_tl": Recipe("ramplus_tl", _NAMES, "base"),
    "model_stock": Recipe("model_stock", _NAMES, "base"),
    "model_stock rows": Recipe("model_stock", _NAMES, "base", {"filter_wise": True}),
    "nearswap": Recipe("nearswap", _PAIR, "a", {"t": 0.001}),
    "arcee_fusion": Recipe("arcee_fusion", _PAIR, "a"),
}


def measure(
    folder: Path, methods: Sequence[str] = (), rows: int = 128_256, threads: int | None = None
) -> list[dict[str, Any]]:
    """Peak and time of each method (those whose method is in ``methods``, or all), printed as they come."""
    models = checkpoints.huge_tensor(folder / f"tensor-{rows}", rows)
    options = {} if threads is None else {"threads": threads}
    found = []
    for name, recipe in RECIPES.items():
        if methods and recipe.method not in methods:
            continue
        path = folder / "memory.yml"
        path.write_text(recipe.text(models))
        run = processes.timed(ours.command(path, processes.fresh(folder / "out"), **options))
        good = run.peak <= MEMORY_TARGET
        found.append({"method": name, "peak": run.peak, "seconds": run.seconds, "good": good})
        print(
            f"{name:20}{run.peak / 1e9:7.2f} GB{run.seconds:8.1f} s" + ("" if good else "   ABOVE 0.8 GB"), flush=True
        )
    processes.fresh(folder / "out")
    return found
