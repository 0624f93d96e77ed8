"""Parameters of a recipe, checked against the method: known there, at a place where they count, of the right type."""

from __future__ import annotations

from collections.abc import Mapping

from cogen.errors import UsageError
from cogen.merging.mergekit.methods import MASK, MergekitMethod, Parameter
from cogen.merging.mergekit.recipe import MergekitRecipe
from cogen.merging.mergekit.settings import scalars, typed
from cogen.merging.parameters import Setting


def bind(peer: MergekitMethod, parameters: Mapping[str, Setting], place: str, own: bool = False) -> dict[str, Setting]:
    """The same settings with values of the parameters' types.

    :param own: the place belongs to one model, where mergekit ignores what is one for all.
    :raises UsageError: a parameter that the method doesn't have, or not there, or a value that cannot be honoured.
    """
    known: dict[str, Parameter] = {**peer.parameters, **MASK}
    found = {}
    for name, setting in parameters.items():
        if name not in known:
            hint = f"remove it, or correct its spelling; it has {', '.join(peer.parameters) or 'none'}"
            if name in MergekitRecipe.model_fields:
                hint = "it belongs to the top of the recipe, not below parameters"
            raise UsageError(f"{place}: {peer.name} has no parameter {name!r}", hint=hint)
        parameter = known[name]
        if own and not parameter.own:
            raise UsageError(
                f"{place}: {name} is one for all models, and would be ignored there", hint="move it to parameters"
            )
        value = typed(setting, parameter.kind, f"{place}: {name}")
        if parameter.only is not None:
            for scalar in scalars(value):
                if scalar not in parameter.only:
                    raise UsageError(
                        f"{place}: {name} {scalar:g} cannot be honoured with {peer.name}: {parameter.why}",
                        hint="remove it",
                    )
        found[name] = value
    return found
