"""The tensors of the result and their inputs, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cogen.errors import CompatibilityError, UsageError
from cogen.merging.mergekit.layers import is_before, only_stack, place_of
from cogen.merging.mergekit.sections import Section
from cogen.merging.mergekit.tensors import Input, Tensors
from cogen.merging.parameters import Layers


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the result; ``inputs`` in the order of the section's sources, ``position`` for gradients.

    Positions are those of mergekit: 0 to 1 over the layers of a slice (with ``models`` of the whole model), 1 where
    there is only one; everything outside the layers stands at 0.
    """

    name: str
    inputs: tuple[Input, ...]
    section: Section
    position: float


def plan_tensors(tensors: Tensors, sections: Sequence[Section]) -> list[PlannedTensor]:
    """The tensors of the result.

    :raises CompatibilityError: a tensor that a model lacks; slices of a model with several stacks of layers.
    :raises UsageError: layers that a model doesn't have.
    """
    if sections[0].length is None:
        return _whole_models(tensors, sections[0])
    return _slice_layers(tensors, sections)


def _whole_models(tensors: Tensors, section: Section) -> list[PlannedTensor]:
    numbers = [source.model for source in section.sources]
    names = sorted({name for model in numbers for name in tensors.names(model)})
    layers = Layers(names)
    found = [(name, tensors.gather([(model, name) for model in numbers])) for name in names]
    return [PlannedTensor(name, inputs, section, layers.position(name)) for name, inputs in found if inputs is not None]


def _slice_layers(tensors: Tensors, sections: Sequence[Section]) -> list[PlannedTensor]:
    """The sections' layers one behind the other, numbered anew.

    What comes before the layers is made of the first section's models, what comes after of the last's.
    """
    depths = {model: only_stack(tensors.models[model]) for model in tensors.used}
    first = tensors.used[0]
    prefix = depths[first][0]
    for model, (other, _) in depths.items():
        if other != prefix:
            raise CompatibilityError(
                f"the layers of {tensors.models[first].title} are named {prefix}, "
                f"those of {tensors.models[model].title} {other}",
                hint="slices need models of one architecture",
            )
    planned = _outside_layers(tensors, sections[0], before=True)
    index = 0
    for section in sections:
        assert section.length is not None  # all sections of a recipe are slices, or none is
        _check_range(tensors, section, {model: count for model, (_, count) in depths.items()})
        for step in range(section.length):
            position = step / (section.length - 1) if section.length > 1 else 1.0
            planned += _layer(tensors, section, prefix, step, index, position)
            index += 1
    return planned + _outside_layers(tensors, sections[-1], before=False)


def _check_range(tensors: Tensors, section: Section, counts: dict[int, int]) -> None:
    for source in section.sources:
        end = (source.first or 0) + (section.length or 0)
        if end > counts[source.model]:
            raise UsageError(
                f"{section.place}: layer_range ends at {end}, "
                f"{tensors.models[source.model].title} has {counts[source.model]} layers",
                hint="a range is [first, last), counted from 0",
            )


def _layer(
    tensors: Tensors, section: Section, prefix: str, step: int, index: int, position: float
) -> list[PlannedTensor]:
    """The tensors of one layer of the result."""
    layers = [(source.model, (source.first or 0) + step) for source in section.sources]
    rests = {rest for model, layer in layers for rest in tensors.layers(model).get(layer, ())}
    planned = []
    for rest in sorted(rests):
        inputs = tensors.gather([(model, f"{prefix}.{layer}.{rest}") for model, layer in layers])
        if inputs is not None:
            planned.append(PlannedTensor(f"{prefix}.{index}.{rest}", inputs, section, position))
    return planned


def _outside_layers(tensors: Tensors, section: Section, *, before: bool) -> list[PlannedTensor]:
    """Tensors outside the layers."""
    numbers = [source.model for source in section.sources]
    names = {name for model in numbers for name in tensors.names(model)}
    wanted = sorted(name for name in names if place_of(name) is None and is_before(name) == before)
    found = [(name, tensors.gather([(model, name) for model in numbers])) for name in wanted]
    return [PlannedTensor(name, inputs, section, 0.0) for name, inputs in found if inputs is not None]
