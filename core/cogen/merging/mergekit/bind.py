"""Parameters of a recipe, checked against the method: names, places and types."""

from __future__ import annotations

from collections.abc import Mapping

from cogen.errors import UsageError
from cogen.merging.mergekit.methods import MASK, MergekitMethod, Parameter
from cogen.merging.mergekit.recipe import MergekitRecipe
from cogen.merging.mergekit.settings import convert
from cogen.merging.parameters import Setting, scalars


def bind(
    recipe_method: MergekitMethod, parameters: Mapping[str, Setting], place: str, per_model: bool = False
) -> dict[str, Setting]:
    """The settings with every value converted to its parameter's type.

    :param per_model: ``place`` belongs to one model; mergekit ignores parameters of the whole merge there.
    :raises UsageError: an unknown or misplaced parameter, or an unsupported value.
    """
    known: dict[str, Parameter] = {**recipe_method.parameters, **MASK}
    found = {}
    for name, setting in parameters.items():
        if name not in known:
            hint = (
                f"remove it, or correct its spelling; its parameters: {', '.join(recipe_method.parameters) or 'none'}"
            )
            if name in MergekitRecipe.model_fields:
                hint = "move it from parameters to the top level of the recipe"
            raise UsageError(f"{place}: {recipe_method.name} has no parameter {name!r}", hint=hint)
        parameter = known[name]
        if per_model and not parameter.per_model:
            raise UsageError(f"{place}: {name} cannot differ by model", hint="move it to the recipe's parameters")
        value = convert(setting, parameter.kind, f"{place}: {name}")
        if parameter.only is not None:
            for scalar in scalars(value):
                if scalar not in parameter.only:
                    raise UsageError(
                        f"{place}: {name} {scalar} is not supported with {recipe_method.name}: {parameter.why}",
                        hint="remove it",
                    )
        found[name] = value
    return found
