"""What the options of a mixture come to, and why it is impossible: from manifests, before anything is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.moe.targets import check_architecture
from cogen.fusion.recipe import FuseRecipe, Routing
from cogen.fusion.routing_data import origin_of

if TYPE_CHECKING:
    from cogen.host import Expert

#: Relations whose experts differ from the base in nothing but feed-forward blocks.
FROZEN = ("ffn", "anchored")
#: Experts that work on one token, unless the recipe says otherwise: what anchored experts are trained with.
TOP_K = 2


def pick_routing(chosen: Sequence[Expert], recipe: FuseRecipe, *, prefix: bool = True) -> Routing:
    """The recipe's, or the best that these experts allow.

    :param prefix: whether the base allows routing prefix; before it is open, that is assumed.
    """
    if recipe.routing is not None:
        return recipe.routing
    if all(expert.spec.router is not None for expert in chosen):
        return "anchored"
    return "prefix" if prefix and no_prefix(chosen, recipe) is None else "trained"


def no_prefix(chosen: Sequence[Expert], recipe: FuseRecipe) -> str | None:
    """Why routing prefix is not the default for these experts, by their manifests; ``None`` where it is."""
    if not recipe.public:
        return "it needs the public slot"
    silent = next((expert.id for expert in chosen if origin_of(expert, "tokens") == "generated"), None)
    return f"{silent} ships neither samples nor token counts" if silent is not None else None


def with_rows(chosen: Sequence[Expert], recipe: FuseRecipe) -> tuple[list[Expert], list[str]]:
    """(those of every installed expert that can be routed as the recipe says, why others are left out).

    Of experts that the recipe names, none is left out: :func:`check_moe` refuses the one that cannot be routed.
    """
    if recipe.experts or recipe.routing != "anchored":
        return list(chosen), []
    kept = [expert for expert in chosen if expert.spec.router is not None]
    if not kept:
        return list(chosen), []
    left = [expert.id for expert in chosen if expert.spec.router is None]
    return kept, [f"{id} is left out: it ships no router row, which routing anchored needs" for id in left]


def check_moe(chosen: Sequence[Expert], recipe: FuseRecipe) -> None:
    """:raises CompatibilityError, UsageError: naming the first thing that makes a mixture impossible."""
    for expert in chosen:
        if expert.spec.model.relation == "scratch":
            raise CompatibilityError(
                f"{expert.id} has no base: it can't be stacked onto one",
                hint="keep it apart (--strategy route), or let it teach one model (strategy distill)",
            )
        check_architecture(expert.spec.model.architecture, expert.id)
    if recipe.ensemble is not None:
        raise UsageError("ensemble is for strategy route, not for moe", hint="leave it out, or --strategy route")
    own = chosen[0].spec.tokenizer.digest
    other = next((expert.id for expert in chosen if expert.spec.tokenizer.digest != own), None)
    if other is not None or recipe.tokenizer is not None:
        raise CompatibilityError(
            "a mixture has one tokenizer, that of its base"
            + (f", and the one of {other} is not that of {chosen[0].id}" if other is not None else ""),
            hint="leave it out, keep the experts apart (--strategy route), or teach one model (strategy distill)",
        )
    if recipe.search or recipe.space or isinstance(recipe.scale, tuple):
        raise UsageError(
            "strategy moe tunes no merge parameters", hint="leave --search, --tune and lists of scales out"
        )
    check_routing(chosen, recipe, pick_routing(chosen, recipe))
    slots = len(chosen) + recipe.public
    if recipe.top_k is not None and recipe.top_k > slots:
        raise UsageError(
            f"top_k {recipe.top_k} is more than the {slots} experts of this mixture", hint=f"at most --top-k {slots}"
        )


def check_routing(chosen: Sequence[Expert], recipe: FuseRecipe, routing: Routing) -> None:
    """:raises CompatibilityError, UsageError: naming the first thing that does not go with this routing."""
    for expert in chosen:
        if routing == "anchored" and expert.spec.router is None:
            raise CompatibilityError(
                f"{expert.id} ships no router row, so it cannot be routed as anchored",
                hint='choose --routing trained or hidden, or train it again with mode = "anchored"',
            )
    if routing == "trained" and recipe.top_k == 1 and len(chosen) + recipe.public > 1:
        raise UsageError(
            "with one expert a token no gradient reaches the router", hint="choose --top-k 2, or --routing hidden"
        )
    if routing == "prefix" and not recipe.public:
        raise UsageError(
            "routing prefix sends the start of a text and general text to the public slot", hint="leave --no-public out"
        )
    if recipe.public_expert is not None and routing != "prefix":
        raise UsageError("public_expert is for routing prefix", hint="add --routing prefix, or leave it out")
    if recipe.embedder is not None and routing != "embedding":
        raise UsageError("an embedder is for routing embedding", hint="add --routing embedding, or leave it out")
    if all(expert.spec.model.relation in FROZEN for expert in chosen):
        weighted = [expert.id for expert in chosen if recipe.options(expert.id).weight != 1.0]
        if weighted:
            raise UsageError(
                f"a mixture weighs its experts token by token: {weighted[0]} can't have a weight", hint="leave it out"
            )
        scaled = recipe.scale not in (None, 1.0) or recipe.parameters
        if scaled or ("method" in recipe.model_fields_set and recipe.method != "linear"):
            raise UsageError(
                "these experts differ in nothing but feed-forward blocks: there is nothing for a merge method to do",
                hint="leave --method, --scale and --set out, or --strategy merge",
            )
