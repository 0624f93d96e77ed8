"""Departures in the type of the arithmetic and of the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merging import checkpoints, probes
from merging.departures import Departure, Verdict, models_around
from merging.recipes import Recipe
from merging.trials import Run, Trial

ROUNDING = (
    *("task_arithmetic", "ties", "dare_ties", "della", "breadcrumbs"),
    *("sce", "model_stock", "karcher", "multislerp"),
)
_PAIR = {"a": {}, "b": {}}
_PLAIN = {"base": np.ones((4, 4)), "a": np.full((4, 4), 2.0), "b": np.full((4, 4), 4.0)}
_NUMBERS = {"a": np.array(2.0), "b": np.array(4.0)}


def _changed(runs: Sequence[Run]) -> Verdict:
    """Identical models do not merge to themselves."""
    shares = {found.trial.recipe.method: np.mean(found.tensor() != found.trial.inputs()["a"]) for found in runs}
    told = ", ".join(f"{method} {share:.0%}" for method, share in shares.items())
    return all(share > 0.01 for share in shares.values()), f"weights changed by merging three identical models: {told}"


def _unchanged(runs: Sequence[Run]) -> bool:
    return all(np.array_equal(found.tensor(), found.trial.inputs()["a"]) for found in runs)


def _identical(method: str) -> Trial:
    """Three identical models, with weights of 1/3 where the method has weights."""
    weights = {} if method in ("karcher", "sce", "model_stock") else {"weight": 1 / 3}
    base = None if method in ("karcher", "multislerp") else "base"
    given = models_around(20, (64, 64), (0.01,))
    tensors = {"base": given["base"], "a": given["a"], "b": given["a"], "c": given["a"]}
    return Trial(Recipe(method, dict.fromkeys("abc", weights), base), tensors, "bfloat16")


def _other_type(runs: Sequence[Run]) -> Verdict:
    held = {str(value.dtype).removeprefix("torch.") for value in runs[0].stored().values()}
    told = runs[0].config["dtype"]
    return held != {told}, f"config: {told}, files: {', '.join(held)}"


def _widened(runs: Sequence[Run]) -> Verdict:
    types = [str(found.stored()[probes.PROBED].dtype) for found in runs]
    told = ", ".join(f"{found.trial.recipe.method} {kind}" for found, kind in zip(runs, types, strict=True))
    return all(kind == "torch.float32" for kind in types), f"from bfloat16, with bfloat16 in the config: {told}"


def _cast(runs: Sequence[Run]) -> Verdict:
    kind = str(runs[0].stored()["gpt_neox.layers.0.attention.bias"].dtype).removeprefix("torch.")
    return kind != "bool", f"the causal mask of a GPT-NeoX, stored as bool, is {kind}"


TYPES = (
    Departure(
        "rounding",
        "all but linear, slerp and passthrough, in bfloat16 and float16",
        "(linear and slerp compute in float32; nothing of the others)",
        "every step is rounded to the type of the inputs, so identical models do not merge to themselves",
        tuple(_identical(method) for method in ROUNDING),
        _changed,
        _unchanged,
    ),
    Departure(
        "types",
        "all",
        "weights of different types are promoted to their common type",
        "the config keeps the base's type",
        (
            Trial(
                Recipe("task_arithmetic", {"b": {"weight": 1}}, "base"),
                make=probes.several(base={"dtype": "bfloat16"}, b={"dtype": "float32"}),
            ),
        ),
        _other_type,
    ),
    Departure(
        "widened",
        "ramplus_tl, arcee_fusion; karcher with 0-d tensors",
        "matching bfloat16 weights stay bfloat16",
        "the result is float32, twice as large, and the config says bfloat16",
        (
            Trial(Recipe("ramplus_tl", _PAIR, "base"), _PLAIN, "bfloat16"),
            Trial(Recipe("arcee_fusion", {"b": {}}, "base"), _PLAIN, "bfloat16"),
            Trial(Recipe("karcher", _PAIR), _NUMBERS, "bfloat16"),
        ),
        _widened,
    ),
    Departure(
        "buffers",
        "all, with dtype",
        "buffers that are no floating-point numbers are copied",
        "they are cast as well",
        (
            Trial(
                Recipe("linear", {name: {"weight": 1} for name in "ab"}, top={"dtype": "bfloat16"}),
                make=lambda folder: checkpoints.small("gpt_neox", "float32", folder),
            ),
        ),
        _cast,
    ),
)
