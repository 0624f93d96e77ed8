"""Which experts a route has, and why one is impossible: from manifests alone, before anything is fetched."""

from __future__ import annotations

from collections.abc import Sequence

from cogen.errors import UsageError
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Expert, Host
from cogen.spec.model import BaseRef

#: Options about weights or tokens of a model that is made; a route makes none.
_FOREIGN = (
    "method",
    "scale",
    "parameters",
    "search",
    "space",
    "tokenizer",
    "transplant",
    "chat_template",
    "generation_config",
    "routing",
    "top_k",
    "public",
    "public_expert",
)


def choose(host: Host, recipe: FuseRecipe) -> list[Expert]:
    """The experts of the recipe, sorted by id; every usable one where it names none.

    :raises UsageError: an unknown expert, or an option that a route does not have.
    """
    _check_options(recipe)
    found = [host.expert(id) for id in recipe.experts] if recipe.experts else list(host.experts(computed=True))
    if not found:
        raise UsageError("no expert can be used", hint="pip install cogen-plugin-…; `cogen doctor` says what is wrong")
    return sorted(found, key=lambda expert: expert.id)


def shared_base(chosen: Sequence[Expert]) -> BaseRef | None:
    """The base that all descend from; None where there is none or more than one.

    Equal lineage may be packaged in several ways; which one is used does not depend on the order of the recipe.
    """
    if len({expert.spec.model.lineage for expert in chosen}) > 1:
        return None
    bases = [e.spec.model.base for e in sorted(chosen, key=lambda e: (e.spec.model.weights_digest, e.id))]
    return bases[0] if all(base is not None for base in bases) else None


def _check_options(recipe: FuseRecipe) -> None:
    for name in _FOREIGN:
        if name in recipe.model_fields_set:
            raise UsageError(
                f"strategy route fuses nothing, so it has no {name.replace('_', ' ')}",
                hint="leave it out, or choose --strategy merge or moe",
            )
    for id in recipe.experts:
        own = recipe.options(id)
        if own.weight != 1 or own.parameters:
            raise UsageError(
                f"strategy route takes experts as they are, without weights or parameters: {id}",
                hint=f"write {id} alone, or choose --strategy merge",
            )
