"""Departures in what is computed: the formula that mergekit 0.1.5 follows instead of the documented one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merging import formulas
from merging.departures import Departure, Verdict, exact, exact_everywhere, fails, instead, models_around, seed
from merging.recipes import Recipe
from merging.references import Array
from merging.trials import Run, Trial


def _two(left: Sequence[float], right: Sequence[float]) -> dict[str, Array]:
    return {"base": np.zeros(len(left)), "a": np.array(left, float), "b": np.array(right, float)}


def _weighted(names: str, weights: Sequence[float]) -> dict[str, dict[str, float]]:
    return {name: {"weight": weight} for name, weight in zip(names, weights, strict=True)}


def _noise(runs: Sequence[Run]) -> Verdict:
    """The elements that arcee_fusion takes over are mostly others than the formula's in float64."""
    shares = []
    for found in runs:
        given = found.trial.inputs()
        differ = given["a"] != given["b"]
        chosen, right = (x == given["b"] for x in (found.tensor(), found.trial.documented().value))
        shares.append(float((chosen & right & differ).sum() / ((chosen | right) & differ).sum()))
    return all(share < 0.5 for share in shares), "chosen by both / chosen by either: " + ", ".join(
        f"{found.trial.dtype} {share:.2f}" for found, share in zip(runs, shares, strict=True)
    )


def _opposed() -> dict[str, Array]:
    given = models_around(9, (16, 16), (0.01, 0.0))
    return given | {"b": given["base"] - 0.5 * (given["a"] - given["base"]) + 0.001}


_PAIR = {"a": {}, "b": {}}
_NEAR = models_around(1, (64, 48), (0.0, 0.0015))
_FUSED = [models_around(8, (64, 256), (0.0, size)) for size in (5e-4, 2.5e-3)]

VALUES = (
    Departure(
        "slerp-chord",
        "slerp",
        "spherical interpolation",
        "the chord instead of the arc where |cos θ| > 0.9995, as with almost all fine-tuned models",
        (Trial(Recipe("slerp", _PAIR, "a", {"t": 0.4}), {k: _NEAR[k] for k in "ab"}),),
        instead(formulas.chord),
        exact,
    ),
    Departure(
        "nuslerp-axis",
        "nuslerp with nuslerp_flatten: false",
        "nuslerp_row_wise: true interpolates rows, false columns",
        "true interpolates columns, false rows",
        tuple(
            Trial(
                Recipe("nuslerp", _weighted("ab", (0.4, 0.6)), None, {"nuslerp_flatten": False} | own),
                {k: v for k, v in models_around(2, (12, 8), (0.04, 0.05)).items() if k != "base"},
            )
            for own in ({}, {"nuslerp_row_wise": True})
        ),
        instead(formulas.other_axis),
        exact,
    ),
    Departure(
        "multislerp-mean",
        "multislerp",
        "barycentric interpolation in the tangent space at the weighted mean",
        "that mean itself: it projects orthogonally, and the weighted sum of those projections is zero",
        (
            Trial(
                Recipe("multislerp", _weighted("abc", (0.2, 0.5, 0.3))),
                {k: v for k, v in models_around(3, (24, 16), (0.05, 0.08, 0.03)).items() if k != "base"},
            ),
        ),
        instead(formulas.normalised_mean),
        exact,
    ),
    Departure(
        "multislerp-unchanged",
        "multislerp with base_model",
        "barycentric interpolation of the differences from the base",
        "the whole merge stops at a tensor that three or more models have in common with the base",
        (
            Trial(
                Recipe("multislerp", _weighted("abc", (1, 1, 1)), "base"),
                dict.fromkeys(("base", "a", "b", "c"), _NEAR["a"]),
            ),
        ),
        fails("The weighted sum of the input tensors is zero"),
        exact,
    ),
    Departure(
        "karcher-base",
        "karcher with base_model",
        "no base_model is used",
        "the base is averaged in as one more model",
        (Trial(Recipe("karcher", _PAIR, "base"), models_around(4, (16, 16), (0.05, 0.03))),),
        instead(formulas.with_base),
        exact,
    ),
    Departure(
        "sce-equal",
        "sce",
        "weights from the mean squares of the differences",
        "equal weights where the mean squares sum to less than 1e-6, as with almost all fine-tuned models",
        (Trial(Recipe("sce", _PAIR, "base"), models_around(5, (32, 32), (4e-4, 2e-4))),),
        instead(formulas.equal_weights),
        exact,
    ),
    Departure(
        "sce-share",
        "sce with select_topk",
        "select_topk is a share of all positions",
        "a share of the positions whose variance is not zero",
        (
            Trial(
                Recipe("sce", _PAIR, "base", {"select_topk": 0.1}),
                {k: np.pad(v, (0, 900)) for k, v in models_around(6, (100,), (0.1, 0.2)).items()},
            ),
        ),
        instead(formulas.share_of_nonzero),
        exact,
    ),
    Departure(
        "sce-divisor",
        "sce",
        "divided by the sum of the weights that apply",
        "a sum below 1e-6 counts as 1e-6, so changes of a model of small weight shrink",
        (Trial(Recipe("sce", _PAIR, "base"), _two([1, -1, 0, 0, 2], [1e-5, 1e-5, -1e-5, 1e-5, -1e-5])),),
        instead(formulas.clamped_divisor),
        exact,
    ),
    Departure(
        "model_stock-length",
        "model_stock",
        "the cosine of two differences",
        "their inner product over at least 1e-6, which sends short differences to the base",
        (
            Trial(
                Recipe("model_stock", _PAIR, "base"),
                {"base": np.zeros(64)} | {k: 1e-5 + 1e-6 * seed(7).standard_normal(64) * (k == "b") for k in "ab"},
            ),
        ),
        instead(formulas.clamped_lengths),
        exact,
    ),
    Departure(
        "model_stock-opposed",
        "model_stock",
        "linear interpolation between the base and the mean of the others",
        "extrapolation away from the others where their differences have a negative mean cosine",
        (Trial(Recipe("model_stock", _PAIR, "base"), _opposed()),),
        instead(formulas.extrapolated),
        exact_everywhere,
    ),
    Departure(
        "nearswap-near",
        "nearswap",
        "weight = t / |base - secondary|, clamped to 0…1",
        "|base - secondary| is taken for 1e-6 where it is smaller",
        (
            Trial(
                Recipe("nearswap", _PAIR, "a", {"t": 1e-7}),
                {"a": np.zeros(4), "b": np.array([1e-8, 1e-7, 1e-6, 1e-5])},
            ),
        ),
        instead(formulas.clamped_difference),
        exact,
    ),
    Departure(
        "arcee_fusion-noise",
        "arcee_fusion",
        "importance from the difference and the KL divergence",
        "the divergence is computed in the inputs' type, where rounding exceeds it",
        tuple(
            Trial(Recipe("arcee_fusion", _PAIR, "a"), {k: given[k] for k in "ab"}, dtype)
            for given, dtype in zip(_FUSED, ("float32", "bfloat16"), strict=True)
        ),
        _noise,
        exact,
    ),
    Departure(
        "ties-even",
        "ties and the others that elect signs",
        "the sign of the sum; of a sum of 0 there is none (the paper's sgn)",
        "a sum of 0 counts as positive",
        (Trial(Recipe("ties", _weighted("ab", (1, 1)), "base"), _two([1, -2, 3], [-1, 2, -3])),),
        instead(formulas.positive_side),
        exact_everywhere,
    ),
)
