"""The same bits whatever the threads, the shards of inputs and output, and the order of models of the same weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from merging import checkpoints, ours, processes
from merging.memory import RECIPES
from merging.recipes import Recipe

THREADS = (1, 2, 4)
#: Methods with an order: the first model is the start.
ORDERED = {"slerp", "nuslerp", "nearswap", "arcee_fusion"}


def compare(folder: Path) -> list[dict[str, Any]]:
    """One row a method and set of models: how many different results there were, of which one is allowed."""
    sets = {
        "a small Llama": checkpoints.small("llama", "bfloat16", folder / "llama"),
        "a tensor of several blocks": checkpoints.huge_tensor(folder / "tensor", rows=600),
    }
    rows = []
    for title, models in sets.items():
        print(f"\n{title}")
        split = {name: _resharded(path, folder / "split" / title / name) for name, path in models.items()}
        for name, recipe in RECIPES.items():
            digests = _ways(recipe, models, split, folder)
            others = [way for way, value in digests.items() if value != digests["1 threads"]]
            rows.append({"models": title, "method": name, "same": not others, "digests": digests})
            told = f"OTHER BITS: {', '.join(others)}" if others else f"the same bits, {len(digests)} ways"
            print(f"{name:20}{told}", flush=True)
    return rows


def _ways(recipe: Recipe, models: Mapping[str, Path], split: Mapping[str, Path], folder: Path) -> dict[str, str]:
    found = {f"{count} threads": _digest(recipe, models, folder, threads=count) for count in THREADS}
    found["inputs in shards"] = _digest(recipe, split, folder)
    found["output in shards"] = _digest(recipe, models, folder, shard_size="40KB")
    if recipe.method not in ORDERED:
        turned = replace(recipe, models=dict(reversed(recipe.models.items())))
        found["models in another order"] = _digest(turned, models, folder)
    return found


def _digest(recipe: Recipe, models: Mapping[str, Path], folder: Path, **options: Any) -> str:
    """SHA-256 over names, shapes, types and bits of all tensors of the result."""
    out = processes.fresh(folder / "out")
    error = ours.fuse(recipe.text(models), out, **options)
    if error is not None:
        raise SystemExit(f"{recipe.method}: {error}")
    return digest(checkpoints.read(out))


def digest(tensors: Mapping[str, Any]) -> str:
    import torch

    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _resharded(source: Path, target: Path) -> Path:
    """The same model in many small files."""
    names: Sequence[tuple[str, Any]] = list(checkpoints.read(source).items())
    checkpoints.write(target, names, json.loads((source / "config.json").read_text()), shard=30_000)
    return target
