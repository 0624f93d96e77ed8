"""Departures of the methods that draw random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merging.departures import Departure, Verdict, fails, merged, seed
from merging.differences import keep_probability
from merging.recipes import Recipe
from merging.references import Array
from merging.trials import Run, Trial


def _dropping(method: str, **own: float) -> Recipe:
    return Recipe(method, {"a": {"weight": 1.0} | own}, "base", {"normalize": False})


def _from_zero(size: int = 1 << 20) -> dict[str, Array]:
    """A base of zeros and one model: the result shows what was kept, and by what it was multiplied."""
    values = seed(22).standard_normal((size // 64, 64))
    return {"base": np.zeros(values.shape), "a": np.where(values == 0, 1, values)}


def _factors(found: Run) -> tuple[Array, Array, Array]:
    """(by what the kept changes were multiplied, mask of them, the probabilities with which they are to be kept)."""
    own, given, result = found.trial.recipe.models["a"], found.trial.inputs()["a"], found.tensor()
    p = keep_probability(given, own["density"], own["epsilon"]) if "epsilon" in own else own["density"]
    kept = result != 0
    return result[kept] / given[kept], kept, np.broadcast_to(p, given.shape)


def _restores_norm(runs: Sequence[Run]) -> Verdict:
    """One factor that restores the tensor's sum of magnitudes, instead of 1/p."""
    departs, details = True, []
    for found in runs:
        factor, kept, p = _factors(found)
        given = np.abs(found.trial.inputs()["a"])
        ratio = given.sum() / given[kept].sum()
        departs &= bool(np.allclose(factor, ratio, rtol=1e-4)) and not np.allclose(factor, 1 / p[kept], rtol=1e-4)
        details.append(
            f"{found.trial.recipe.method} {ratio:.4f}, not {1 / p[kept].min():.4f} to {1 / p[kept].max():.4f}"
        )
    return departs, "factor " + "; ".join(details)


def _one_over_p(runs: Sequence[Run]) -> bool:
    """Kept with probability p (within four standard deviations), and then divided by p (in float32)."""
    good = True
    for found in runs:
        factor, kept, p = _factors(found)
        deviation = np.sqrt((p * (1 - p)).mean() / kept.size)
        good &= bool(np.allclose(factor, 1 / p[kept], rtol=1e-6)) and abs(kept.mean() - p.mean()) < 4 * deviation
    return good


def _share_off(runs: Sequence[Run]) -> Verdict:
    _, kept, p = _factors(runs[0])
    bound = 4 * np.sqrt((p * (1 - p)).mean() / kept.size)
    return abs(kept.mean() - p.mean()) > bound, f"kept {kept.mean():.5f}, asked {p.mean():.5f} ± {bound:.5f}"


def _differ(runs: Sequence[Run]) -> Verdict:
    """Pairs of what should be the same merge."""
    differ = [not np.array_equal(a.tensor(), b.tensor()) for a, b in zip(runs[::2], runs[1::2], strict=True)]
    return all(differ), f"{sum(differ)} of {len(differ)} merges came out differently the second time"


def _same(runs: Sequence[Run]) -> bool:
    return all(np.array_equal(a.tensor(), b.tensor()) for a, b in zip(runs[::2], runs[1::2], strict=True))


_WIDE = 0.02 * seed(23).standard_normal((1, 1 << 20))
_FUSED = {"a": _WIDE, "b": _WIDE + 0.005 * seed(24).standard_normal(_WIDE.shape)}
_ALL = "dare_linear, dare_ties, della, della_linear"

RANDOM = (
    Departure(
        "rescale",
        _ALL,
        "DARE's rescaling (its paper: 1/density; DELLA's: 1/p of each element)",
        "one factor for the tensor, which restores the sum of the magnitudes",
        tuple(
            Trial(_dropping(method, **own), _from_zero(), options={"random_seed": 1})
            for method, own in (
                ("dare_linear", {"density": 0.1}),
                ("dare_ties", {"density": 0.4}),
                ("della", {"density": 0.5, "epsilon": 0.3}),
                ("della_linear", {"density": 0.3, "epsilon": 0.2}),
            )
        ),
        _restores_norm,
        _one_over_p,
    ),
    Departure(
        "probability",
        f"{_ALL}, in bfloat16 and float16",
        "density: the fraction of weights to retain",
        "the probability is rounded to the type of the inputs: 0.9 to 0.8984",
        (Trial(_dropping("dare_linear", density=0.9), _from_zero(), "bfloat16", {"random_seed": 1}),),
        _share_off,
    ),
    Departure(
        "unseeded",
        f"{_ALL}; arcee_fusion above 1e6 elements",
        "(nothing, but that --random-seed exists)",
        "another result with every run",
        tuple(
            Trial(recipe, tensors, process=process)
            for recipe, tensors in (
                (_dropping("dare_linear", density=0.5), _from_zero(1 << 12)),
                (_dropping("della", density=0.5), _from_zero(1 << 12)),
                (Recipe("arcee_fusion", {"a": {}, "b": {}}, "a"), _FUSED),
            )
            for process in (0, 1)
        ),
        _differ,
        _same,
    ),
    Departure(
        "seeded",
        _ALL,
        "--random-seed: for reproducible use of randomized merge methods",
        "one stream of numbers for the whole merge, so another order of the models gives each of them other masks",
        tuple(
            Trial(
                Recipe("dare_linear", {name: {"weight": 1, "density": 0.5} for name in names}, "base"),
                _from_zero(1 << 12) | {"b": np.full((64, 64), 0.5)},
                options={"random_seed": 1},
            )
            for names in ("ab", "ba")
        ),
        _differ,
        _same,
    ),
    Departure(
        "della-column",
        "della, della_linear",
        "probabilities by the ranks within a row",
        "the whole merge stops at rows of one element (0/0), and at 0-d tensors",
        (Trial(_dropping("della", density=0.5), {"base": np.zeros((4, 1)), "a": np.ones((4, 1))}),),
        fails("p_in >= 0"),
        merged,
    ),
)
