"""Our random methods: their masks by moments, and their results for the masks that they drew, against float64.

mergekit's masks cannot be the same and are no measure: see the departures `rescale`, `probability` and `seeded`. A mask
is read off the merge of one model alone, where a weight that is not the base's was kept; a model has the same mask in
company, so the merge of several models must be the reference's for these masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from merging import checkpoints, differences, ours, references
from merging.departures import ROUNDED_ONCE
from merging.recipes import Recipe
from merging.trials import units

METHODS = ("dare_linear", "dare_ties", "della", "della_linear")
DENSITIES = {"a": 0.5, "b": 0.3, "c": 0.7}
WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.4}
EPSILON = 0.1
#: How many standard deviations a moment may be off: one in 15,000 is.
BOUND = 4.0


def compare(folder: Path, architecture: str = "llama") -> list[dict[str, Any]]:
    """One row a method; in float32, where every kept change is seen beside the base."""
    dtype = "float32"
    models = checkpoints.small(architecture, dtype, folder)
    inputs = {name: {k: v.double().numpy() for k, v in checkpoints.read(path).items()} for name, path in models.items()}
    return [_row(method, dtype, models, inputs, folder / method) for method in METHODS]


def _row(method: str, dtype: str, models: Any, inputs: Any, folder: Path) -> dict[str, Any]:
    own = {"epsilon": EPSILON} if method.startswith("della") else {}
    settings = {name: {"weight": WEIGHTS[name], "density": DENSITIES[name]} | own for name in DENSITIES}
    alone = {}
    for name in settings:
        recipe = Recipe(method, {name: settings[name] | {"weight": 1.0}}, "base", {"normalize": False})
        alone[name] = _fused(recipe, models, folder / name)
    together = _fused(Recipe(method, settings, "base"), models, folder / "together")
    shares, slopes, farthest, products = [], [], 0.0, []
    for tensor, base in inputs["base"].items():
        kept, probability = {}, {}
        for name, setting in settings.items():
            change = inputs[name][tensor] - base
            p = differences.keep_probability(change, setting["density"], EPSILON) if own else setting["density"]
            probability[name] = np.broadcast_to(p, change.shape)
            kept[name] = (alone[name][tensor] != base) & (change != 0)
            shares.append(_deviations(kept[name][change != 0], probability[name][change != 0]))
            slopes.append(_slope(alone[name][tensor] - base, change, probability[name]))
        products.append(_product(kept, probability, {name: inputs[name][tensor] != base for name in settings}))
        wanted = references.merge(
            method,
            base,
            [inputs[name][tensor] for name in settings],
            weight=list(WEIGHTS.values()),
            density=list(DENSITIES.values()),
            kept=list(kept.values()),
            probability=list(probability.values()),
        )
        error = units(
            np.abs(together[tensor] - wanted.value), wanted.value, [base, *(alone[n][tensor] for n in alone)], dtype
        )
        farthest = max(farthest, float(error[~wanted.unsure].max()))
    found = {
        "method": method,
        "dtype": dtype,
        "masks": len(shares),
        "mean": float(np.mean(shares) * np.sqrt(len(shares))),
        "variance": float((np.var(shares) - 1) / np.sqrt(2 / len(shares))),
        "expectation": float(np.mean(slopes) * np.sqrt(len(slopes))),
        "independence": float(np.mean(products) * np.sqrt(len(products))),
        "ours": farthest,
    }
    moments = all(abs(found[key]) < BOUND for key in ("mean", "variance", "expectation", "independence"))
    return found | {"verdict": "agrees" if moments and farthest <= ROUNDED_ONCE else "FAIL"}


def _fused(recipe: Recipe, models: Any, out: Path) -> dict[str, Any]:
    error = ours.fuse(recipe.text(models), out)
    if error is not None:
        raise SystemExit(f"{recipe.method}: {error}")
    return {name: value.double().numpy() for name, value in checkpoints.read(out).items()}


def _deviations(kept: Any, p: Any) -> float:
    """How many standard deviations the kept share is off; over many masks that has the mean 0 and the variance 1."""
    return float((kept - p).sum() / np.sqrt((p * (1 - p)).sum()))


def _slope(merged: Any, change: Any, p: Any) -> float:
    """The same of Σ merged·δ, whose expectation is Σ δ²: on average the model comes out."""
    spread = (change**4 * (1 - p) / p).sum()
    return float((merged * change - change**2).sum() / np.sqrt(spread))


def _product(kept: Any, p: Any, changed: Any) -> float:
    """The same of how often two models keep the same element: their masks do not know of one another."""
    (a, b), both = list(kept)[:2], changed["a"] & changed["b"]
    left, right = ((kept[name] - p[name])[both] for name in (a, b))
    spread = np.prod([(p[name] * (1 - p[name]))[both] for name in (a, b)], axis=0).sum()
    return float((left * right).sum() / np.sqrt(spread))


def show(rows: list[dict[str, Any]]) -> None:
    print("\nRandom methods: moments in standard deviations, and the largest error for the masks drawn, in last places")
    for row in rows:
        print(
            f"{row['method']:14}{row['dtype']:10}{row['masks']} masks: mean {row['mean']:+.2f}, variance "
            f"{row['variance']:+.2f}, expectation {row['expectation']:+.2f}, independence {row['independence']:+.2f}, "
            f"error {row['ours']:.3f}  {row['verdict']}"
        )
