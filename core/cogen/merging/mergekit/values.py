"""The numbers of a recipe for one tensor, as our methods take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cogen.errors import UsageError
from cogen.merging.mergekit.layout import PlannedTensor
from cogen.merging.mergekit.methods import REQUIRED, MergekitMethod, Parameter
from cogen.merging.mergekit.settings import value_of


def parameters_of(peer: MergekitMethod, slot: PlannedTensor) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Weights, and our keyword arguments: numbers, or one an expert."""
    levels, found = slot.section.levels, {}
    weights = (1.0,) * len(slot.section.experts)
    for key, parameter in peer.parameters.items():
        if parameter.ours is None:
            continue
        if not parameter.own:
            value = value_of(levels, key, slot.name, slot.position, parameter.kind)
            found[parameter.ours] = _or_default(peer, key, parameter, value, slot.name)
            continue
        values = []
        for place in slot.section.experts:
            # A model's parameters are looked up by the name that the tensor has there: layers may be numbered anew.
            entry = slot.inputs[place]
            nearest = (slot.section.sources[place].settings, *levels)
            value = value_of(nearest, key, entry.name, slot.position, parameter.kind)
            values.append(_or_default(peer, key, parameter, value, entry.name))
        if parameter.ours == "weight":
            weights = tuple(values)
        else:
            found[parameter.ours] = tuple(values)
    return weights, found


def _or_default(peer: MergekitMethod, key: str, parameter: Parameter, value: Any, name: str) -> Any:
    if value is None:
        if parameter.default is REQUIRED:
            raise UsageError(
                f"{peer.name} needs a {key} for {name}",
                hint=f"add {key} to parameters, or a condition without a filter",
            )
        value = parameter.default
    return value if parameter.values is None else parameter.values[value]


def not_silent(peer: MergekitMethod, slot: PlannedTensor, parameters: Mapping[str, Any]) -> list[int]:
    """Experts of which anything is kept: a density of 0 leaves one out, which ours don't know."""
    densities = parameters.get("density")
    everyone = range(len(slot.section.experts))
    if densities is None or min(densities, default=1.0) > 0.0:
        return list(everyone)
    if parameters.get("normalize") and "undecided" not in peer.method.parameters:
        raise UsageError(
            f"{peer.name} with normalize cannot divide by the weight of a model of density 0, in {slot.name}",
            hint="leave that model out, or give it a density above 0",
        )
    return [i for i in everyone if densities[i] > 0.0]
