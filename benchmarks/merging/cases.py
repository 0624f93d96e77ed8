"""The recipes that are compared: every deterministic method that both tools have, with its parameters varied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from merging.recipes import Recipe, Slice, Source


@dataclass(frozen=True)
class Case:
    """``departs``: the entries of `departures.py` by which mergekit's result differs from what it documents."""

    name: str
    recipe: Recipe
    departs: tuple[str, ...] = ()
    #: The first case of a method is run on every architecture, further ones on the first only unless ``--full``.
    basic: bool = False


def _models(names: str, **own: list[Any]) -> dict[str, dict[str, Any]]:
    """One model a letter; ``weight=[1, 2]`` gives the first model 1 and the second 2."""
    return {name: {key: values[i] for key, values in own.items()} for i, name in enumerate(names)}


def _on_base(method: str, names: str, common: Mapping[str, Any] | None = None, **own: list[Any]) -> Recipe:
    return Recipe(method, _models(names, **own), "base", common or {})


WEIGHTS = {"weight": [0.5, 0.3, 0.4]}
FILTERED = [{"filter": "mlp", "value": 0.8}, {"filter": "self_attn", "value": [0.1, 0.6]}, {"value": 0.3}]


def cases() -> Iterator[Case]:
    """All of them, the basic one of a method first."""
    yield Case("linear", Recipe("linear", _models("abc", weight=[0.5, 0.3, 0.4])), basic=True)
    yield Case("linear thirds", Recipe("linear", _models("abc", weight=[1 / 3] * 3)))
    yield Case("linear sum", Recipe("linear", _models("ab", weight=[0.7, -0.2]), common={"normalize": False}))
    yield Case("linear gradient", Recipe("linear", _models("ab", weight=[[1, 0], [0, 0.5, 1]])))
    yield Case("linear filters", Recipe("linear", _models("ab", weight=[FILTERED, 0.4])))
    own = {"a": {"weight": [{"filter": "mlp", "value": 3}]}, "b": {}}
    yield Case("linear fall-through", Recipe("linear", own, common={"weight": 0.5}))
    cast = ("buffers",)
    for dtype in ("float32", "bfloat16", "float16"):
        yield Case(
            f"linear dtype {dtype}", Recipe("linear", _models("ab", weight=[0.7, 0.2]), top={"dtype": dtype}), cast
        )
    both = {"dtype": "float32", "out_dtype": "bfloat16"}
    yield Case(
        "ties float32, out bfloat16", Recipe("ties", _models("abc", **WEIGHTS), "base", {"density": 0.5}, both), cast
    )

    yield Case("passthrough", Recipe("passthrough", {"a": {}}), basic=True)
    yield Case("passthrough scale", Recipe("passthrough", {"a": {"scale": [{"filter": "down_proj", "value": 0.3}]}}))

    stacked = [Slice([Source("a", 0, 2)]), Slice([Source("b", 1, 3, {"scale": 0.5})])]
    yield Case("passthrough slices", Recipe("passthrough", slices=stacked))

    yield Case("slerp", Recipe("slerp", _models("ab"), "a", {"t": 0.3}), basic=True)
    halves = [
        Slice([Source("a", 0, 2), Source("b", 0, 2)], {"t": [0.2, 0.8]}),
        Slice([Source("a", 1, 2), Source("b", 2, 3)]),
    ]
    yield Case("slerp slices", Recipe("slerp", base="a", common={"t": FILTERED}, slices=halves))
    for t in (0.0, 1.0):
        yield Case(f"slerp t={t:g}", Recipe("slerp", _models("ab"), "a", {"t": t}))
    yield Case("slerp filters", Recipe("slerp", _models("ab"), "b", {"t": FILTERED}))
    yield Case("slerp base alone", Recipe("slerp", _models("b"), "base", {"t": [0, 0.4, 1]}))

    yield Case("nuslerp", Recipe("nuslerp", _models("ab", weight=[0.4, 0.9])), basic=True)
    yield Case("nuslerp on base", _on_base("nuslerp", "ab", weight=[0.4, 0.9]), basic=True)
    split = {"nuslerp_flatten": False}
    yield Case("nuslerp columns", Recipe("nuslerp", _models("ab", weight=[1, 2]), common=split), ("nuslerp-axis",))
    rows = split | {"nuslerp_row_wise": True}
    yield Case("nuslerp rows", Recipe("nuslerp", _models("ab", weight=[1, 2]), common=rows), ("nuslerp-axis",))

    away = ("multislerp-mean",)
    yield Case("multislerp", Recipe("multislerp", _models("abc", **WEIGHTS)), away, basic=True)
    yield Case("multislerp two", Recipe("multislerp", _models("ab", weight=[0.2, 0.8])), away)
    yield Case("multislerp on base", _on_base("multislerp", "abc", **WEIGHTS), (*away, "multislerp-unchanged"))
    whole = {"normalize_weights": False}
    yield Case("multislerp sum", Recipe("multislerp", _models("abc", **WEIGHTS), common=whole), away)

    wide = ("widened",)
    yield Case("karcher", Recipe("karcher", _models("abc")), wide, basic=True)
    yield Case("karcher two", Recipe("karcher", _models("ab"), common={"max_iter": 20, "tol": 1e-6}), wide)
    yield Case("karcher one step", Recipe("karcher", _models("abc"), common={"max_iter": 1}), wide)

    yield Case("task_arithmetic", _on_base("task_arithmetic", "abc", **WEIGHTS), basic=True)
    scaled = {"normalize": True, "lambda": 0.6}
    yield Case("task_arithmetic mean, lambda", _on_base("task_arithmetic", "ab", scaled, weight=[1, 0.5]))
    yield Case("task_arithmetic negative", _on_base("task_arithmetic", "ab", weight=[1.0, -0.4]))

    ties = {"density": [0.6, 0.3, 0.5]} | WEIGHTS
    yield Case("ties", _on_base("ties", "abc", **ties), basic=True)
    yield Case("ties whole", _on_base("ties", "abc", **WEIGHTS))
    yield Case(
        "ties sum, lambda", _on_base("ties", "abc", {"normalize": False, "lambda": 0.7, "density": 0.4}, **WEIGHTS)
    )
    yield Case("ties gradient", _on_base("ties", "abc", {"density": [0.2, 0.9], "int8_mask": True}, **WEIGHTS))
    yield Case("ties filters", _on_base("ties", "ab", weight=[FILTERED, 0.4], density=[0.5, [0.3, 0.7]]))
    yield Case("ties sparse", _on_base("ties", "abc", {"density": 0.01}, **WEIGHTS))

    for method in ("breadcrumbs", "breadcrumbs_ties"):
        crumbs = {"density": [0.7, 0.5, 0.9], "gamma": [0.05, 0.01, 0.02]} | WEIGHTS
        yield Case(method, _on_base(method, "abc", **crumbs), basic=True)
        yield Case(
            f"{method} gamma 0", _on_base(method, "abc", {"density": 0.6, "gamma": 0.0, "normalize": True}, **WEIGHTS)
        )
        yield Case(f"{method} gamma 0.6", _on_base(method, "abc", {"density": 0.6, "gamma": 0.6}, **WEIGHTS))

    for method in ("dare_linear", "dare_ties", "della", "della_linear"):
        yield Case(f"{method} whole", _on_base(method, "abc", {"density": 1.0}, **WEIGHTS), basic=True)
        changed = {"density": 1.0, "normalize": method != "della", "lambda": 0.8}
        yield Case(f"{method} whole, switched", _on_base(method, "abc", changed, **WEIGHTS))

    yield Case("sce", _on_base("sce", "abc"), basic=True)
    yield Case("sce select", _on_base("sce", "abc", {"select_topk": 0.3}))
    yield Case("ram", _on_base("ram", "abc"), basic=True)
    yield Case("ram epsilon", _on_base("ram", "abc", {"epsilon": 0.005}))
    yield Case("ramplus_tl", _on_base("ramplus_tl", "abc"), wide, basic=True)
    yield Case("ramplus_tl epsilon", _on_base("ramplus_tl", "abc", {"epsilon": 0.005, "r": 0.3, "alpha": 0.4}), wide)
    yield Case("model_stock", _on_base("model_stock", "abc"), basic=True)
    yield Case("model_stock two", _on_base("model_stock", "ab"))
    yield Case("model_stock rows", _on_base("model_stock", "abc", {"filter_wise": True}))
    yield Case("nearswap", Recipe("nearswap", _models("ab"), "a", {"t": 0.002}), basic=True)
    yield Case("arcee_fusion", Recipe("arcee_fusion", _models("ab"), "a"), wide, basic=True)
