"""Which parameters reach which tensor: precedence, filters, gradients and defaults, against values made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.kitchen import Kitchen

from cogen.merging.mergekit.methods import MERGEKIT_METHODS, REQUIRED
from cogen.merging.mergekit.steps import common_dtype

Q, UP = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.up_proj.weight"
EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"

pytestmark = pytest.mark.usefixtures("unread")


def test_gradients_over_a_whole_model(kitchen: Kitchen) -> None:
    """Position layer / (layers - 1); embedding, norm and head stand at 0: they take the first value."""
    for name in "ab":
        kitchen.model(name, layers=5, tied=False)
    steps = kitchen.steps(
        """
        merge_method: linear
        models:
          - {model: a, parameters: {weight: [0, 1]}}
          - {model: b, parameters: {weight: [4, 2, 1]}}
        """
    )
    found = {layer: steps[Q.format(layer)].weights for layer in range(5)}
    assert found == {0: (0, 4), 1: (0.25, 3), 2: (0.5, 2), 3: (0.75, 1.5), 4: (1, 1)}
    assert {steps[name].weights for name in (EMBED, NORM, HEAD)} == {(0, 4)}


def test_a_single_layer_stands_at_the_end(kitchen: Kitchen) -> None:
    """As in mergekit: the last value."""
    kitchen.model("a", layers=1)
    steps = kitchen.steps(
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: [2, 3]}}]\nparameters: {normalize: false}\n"
    )
    assert steps[Q.format(0)].weights == (3,)
    assert steps[EMBED].weights == (2,)


def test_filters_and_precedence(kitchen: Kitchen) -> None:
    """The model's own setting, then the common one; a list of conditions where none fits leaves it to the next."""
    for name in ("base", "a", "b"):
        kitchen.model(name)
    steps = kitchen.steps(
        """
        merge_method: ties
        base_model: base
        models:
          - model: a
            parameters:
              weight: [{filter: mlp, value: [1, 3]}, {filter: layers.1., value: 9}]
              density: 0.2
          - {model: b}
        parameters:
          weight: [{filter: norm, value: 7}, {value: "5e-1"}]
          density: [{filter: "*", value: 0.4}]
          lambda: [0.1, 0.9]
        """
    )
    assert steps[UP.format(0)].weights == (1, 0.5)
    assert steps[UP.format(1)].weights == (3, 0.5)
    assert steps[Q.format(0)].weights == (0.5, 0.5)
    assert steps[Q.format(1)].weights == (9, 0.5)
    assert steps[NORM].weights == (7, 7)
    parameters = {name: dict(step.parameters or {}) for name, step in steps.items()}
    assert {tuple(p["density"]) for p in parameters.values()} == {(0.2, 0.4)}
    assert [parameters[name]["scale"] for name in (EMBED, Q.format(0), Q.format(1), NORM)] == [0.1, 0.1, 0.9, 0.1]


def test_slices_have_gradients_and_settings_of_their_own(kitchen: Kitchen) -> None:
    """Position within the slice; source, slice, common; a source's filter sees the layer's number in the source."""
    for name in "ab":
        kitchen.model(name, layers=6)
    steps = kitchen.steps(
        """
        merge_method: linear
        slices:
          - sources:
              - {model: a, layer_range: [0, 3], parameters: {weight: [1, 2]}}
              - {model: b, layer_range: [3, 6], parameters: {weight: [{filter: layers.4., value: 100}]}}
            parameters: {weight: [10, 20]}
          - sources:
              - {model: b, layer_range: [2, 3], parameters: {weight: [5, 6]}}
        parameters: {weight: 50, normalize: [{filter: layers.1., value: false}]}
        """
    )
    found = [steps[Q.format(layer)] for layer in range(4)]
    assert [step.weights for step in found[:3]] == [(1, 10), (1.5, 100), (2, 20)]
    assert found[3].method is None  # one model, normalized: a copy
    assert [dict(step.parameters or {})["normalize"] for step in found[:3]] == [True, False, True]
    # A common parameter's filter sees the number in the result; outside the layers: the first or last slice at 0.
    assert steps[EMBED].weights == (1, 10)
    assert [(entry.model, entry.name) for entry in found[1].experts] == [(0, Q.format(1)), (1, Q.format(4))]
    assert steps[NORM].experts[0].model == 1


def test_what_stands_outside_the_layers(kitchen: Kitchen) -> None:
    """Embeddings of the first slice with its settings, norm and head of the last with its."""
    for name in "ab":
        kitchen.model(name, layers=2, tied=False)
    steps = kitchen.steps(
        """
        merge_method: passthrough
        slices:
          - sources: [{model: a, layer_range: [0, 2], parameters: {scale: 2}}]
          - sources: [{model: b, layer_range: [0, 2], parameters: {scale: 3}}]
        """
    )
    found = {name: (steps[name].experts[0].model, steps[name].parameters) for name in (EMBED, NORM, HEAD)}
    assert found == {EMBED: (0, {"scale": (2,)}), NORM: (1, {"scale": (3,)}), HEAD: (1, {"scale": (3,)})}


def test_settings_of_the_only_module(kitchen: Kitchen) -> None:
    """They come before the common ones."""
    kitchen.model("a")
    text = "merge_method: passthrough\nmodules: {default: {models: [{model: a}], parameters: {scale: 3}}}\n"
    steps = kitchen.steps(text + "parameters: {scale: 5}\n")
    assert dict(steps[NORM].parameters or {}) == {"scale": (3,)}


#: Our keyword arguments where the recipe says as little as it may: mergekit's defaults, not ours.
DEFAULTS: dict[str, dict[str, Any]] = {
    "linear": {"normalize": True},
    "slerp": {"t": 0.5},
    "nuslerp": {"flatten": True, "row_wise": False},
    "multislerp": {"normalize": True},
    "karcher": {"max_iter": 10, "tol": 1e-5},
    "passthrough": {"scale": (1.0,)},
    "model_stock": {"filter_wise": False},
    "nearswap": {"t": 0.5},
    "arcee_fusion": {},
    "sce": {"select_topk": 1.0},
    "ram": {"epsilon": 1e-5},
    "ramplus_tl": {"epsilon": 1e-5, "r": 0.1, "alpha": 0.2},
    "task_arithmetic": {"scale": 1.0, "normalize": False},
    "ties": {"scale": 1.0, "normalize": True, "density": (1.0, 1.0), "rescale": "none"},
    "dare_linear": {"scale": 1.0, "normalize": False, "density": (1.0, 1.0), "rescale": "inverse", "seed": 3},
    "dare_ties": {"scale": 1.0, "normalize": False, "density": (1.0, 1.0), "rescale": "inverse", "seed": 3},
    "breadcrumbs": {"scale": 1.0, "normalize": False, "density": (1.0, 1.0), "gamma": (0.01, 0.01), "rescale": "none"},
    "breadcrumbs_ties": {
        "scale": 1.0,
        "normalize": False,
        "density": (1.0, 1.0),
        "gamma": (0.01, 0.01),
        "rescale": "none",
    },
    "della": {
        "scale": 1.0,
        "normalize": True,
        "density": (1.0, 1.0),
        "epsilon": (0.15, 0.15),
        "rescale": "inverse",
        "seed": 3,
    },
    "della_linear": {
        "scale": 1.0,
        "normalize": False,
        "density": (1.0, 1.0),
        "epsilon": (0.15, 0.15),
        "rescale": "inverse",
        "seed": 3,
    },
}


@pytest.mark.parametrize("name", MERGEKIT_METHODS)
def test_defaults_are_mergekits(kitchen: Kitchen, name: str) -> None:
    """Every method that mergekit 0.1.5 has, with nothing but what it demands; ours gets every parameter that it has."""
    recipe_method = MERGEKIT_METHODS[name]
    for model in ("base", "a", "b"):
        kitchen.model(model, seed=ord(model[0]), dtype="bfloat16")
    models = ["a", "b"][: recipe_method.most or 2]
    needed = {key: 0.5 for key, parameter in recipe_method.parameters.items() if parameter.default is REQUIRED}
    base = "" if recipe_method.role == "unused" else "base_model: base\n"
    listed = ", ".join(f"{{model: {model}}}" for model in models)
    plan = kitchen.plan(f"merge_method: {name}\n{base}models: [{listed}]\nparameters: {needed}\n", seed=3)
    step = {step.name: step for step in plan.steps}[UP.format(0)]
    if name == "passthrough":
        assert step.method is None
        return
    assert step.method is recipe_method.implementation
    assert dict(step.parameters or {}) == DEFAULTS[name]
    named = [plan.models[entry.model].title for entry in step.experts]
    if recipe_method.role == "first":
        assert (named, step.base) == (["base", *models], None)
    else:
        assert named == models
        assert (step.base is None) == (recipe_method.role == "unused")
    assert set(DEFAULTS[name]) <= set(recipe_method.implementation.parameters)
    # What a recipe cannot say keeps our default, which is then what mergekit documents.
    left = set(recipe_method.implementation.parameters) - set(DEFAULTS[name])
    assert left <= {"scale", "undecided"}


def test_our_names_and_values() -> None:
    """lambda is our scale, switches that choose a rescaling are words."""
    assert MERGEKIT_METHODS["ties"].parameters["lambda"].keyword == "scale"
    assert MERGEKIT_METHODS["ties"].parameters["rescale"].values == {True: "l1", False: "none"}
    assert MERGEKIT_METHODS["dare_ties"].parameters["rescale"].values == {True: "inverse", False: "none"}


def test_a_density_of_zero_leaves_a_model_out(kitchen: Kitchen) -> None:
    """mergekit keeps nothing of it, ours doesn't know such a density; where none is left, the base is copied."""
    for name in ("base", "a", "b"):
        kitchen.model(name, layers=3)
    text = """
        merge_method: {method}
        base_model: base
        models:
          - {{model: a, parameters: {{weight: 1, density: {a}}}}}
          - {{model: b, parameters: {{weight: 2, density: [0.5, 0]}}}}
        parameters: {{normalize: true}}
        """
    steps = kitchen.steps(text.format(method="ties", a=0.3))
    found = [steps[Q.format(layer)] for layer in range(3)]
    assert [step.weights for step in found] == [(1, 2), (1, 2), (1,)]
    assert [dict(step.parameters or {})["density"] for step in found] == [(0.3, 0.5), (0.3, 0.25), (0.3,)]
    steps = kitchen.steps(text.format(method="ties", a="[0.5, 0]"))
    assert steps[Q.format(2)].method is None
    assert steps[Q.format(2)].experts[0].model == 2
    with pytest.raises(Exception, match="dare_linear cannot normalize"):
        kitchen.steps(text.format(method="dare_linear", a=0.3))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ("bfloat16", "bfloat16"),
        ("bfloat16 float16", "float32"),
        ("bfloat16 float32", "float32"),
        ("float16 float64 float32", "float64"),
        ("float8_e4m3fn float8_e4m3fn", "float8_e4m3fn"),
        ("float8_e4m3fn float8_e5m2", "float16"),
        ("float8_e4m3fn bfloat16", "bfloat16"),
        ("float8_e5m2 float16 bfloat16", "float32"),
    ],
)
def test_the_type_that_holds_all(dtypes: str, expected: str) -> None:
    """Every number of every input is one of the result's type."""
    assert common_dtype(dtypes.split()) == expected
