"""The parameters of a recipe for one tensor, as the implementations take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cogen.errors import UsageError
from cogen.merging.mergekit.layout import PlannedTensor
from cogen.merging.mergekit.methods import REQUIRED, MergekitMethod, Parameter
from cogen.merging.mergekit.settings import value_of


def parameters_of(recipe_method: MergekitMethod, tensor: PlannedTensor) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Weights and keyword arguments: one value, or a tuple with one per expert."""
    levels, found = tensor.section.levels, {}
    weights = (1.0,) * len(tensor.section.experts)
    for key, parameter in recipe_method.parameters.items():
        if parameter.keyword is None:
            continue
        if not parameter.per_model:
            value = value_of(levels, key, tensor.name, tensor.position, parameter.kind)
            found[parameter.keyword] = _or_default(recipe_method, key, parameter, value, tensor.name)
            continue
        values = []
        for place in tensor.section.experts:
            # A model's parameters are looked up by the name that the tensor has there: layers may be numbered anew.
            entry = tensor.inputs[place]
            nearest = (tensor.section.sources[place].settings, *levels)
            value = value_of(nearest, key, entry.name, tensor.position, parameter.kind)
            values.append(_or_default(recipe_method, key, parameter, value, entry.name))
        if parameter.keyword == "weight":
            weights = tuple(values)
        else:
            found[parameter.keyword] = tuple(values)
    return weights, found


def _or_default(recipe_method: MergekitMethod, key: str, parameter: Parameter, value: Any, name: str) -> Any:
    if value is None:
        if parameter.default is REQUIRED:
            raise UsageError(
                f"{recipe_method.name} needs a {key} for {name}",
                hint=f"add {key} to parameters, or a condition without a filter",
            )
        value = parameter.default
    return value if parameter.values is None else parameter.values[value]


def active_experts(recipe_method: MergekitMethod, tensor: PlannedTensor, parameters: Mapping[str, Any]) -> list[int]:
    """Indices of the experts that are not dropped: a density of 0 leaves one out; the implementations take none."""
    densities = parameters.get("density")
    everyone = range(len(tensor.section.experts))
    if densities is None or min(densities, default=1.0) > 0.0:
        return list(everyone)
    if parameters.get("normalize") and "undecided" not in recipe_method.implementation.parameters:
        raise UsageError(
            f"{recipe_method.name} cannot normalize with the weight of a model of density 0, in {tensor.name}",
            hint="leave that model out, or give it a density above 0",
        )
    return [i for i in everyone if densities[i] > 0.0]
