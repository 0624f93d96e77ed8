"""The part of a plan that says how a mixture looks: from configuration and headers, no weight is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError
from cogen.evals import QUICK_TOKENS, calibration_texts
from cogen.evals.matrix import MatrixKind
from cogen.fusion.details import MoeDetails, PlannedPrefix
from cogen.fusion.merge.shapes import changed_names
from cogen.fusion.moe.assemble import EMBEDDING, HEAD, layers_of, mixture_extents, width_of
from cogen.fusion.moe.insight import left_out_on
from cogen.fusion.moe.prefix.layout import layout_of, of_whole_heads, planned_layout
from cogen.fusion.moe.prefix.rows import can_forget, kernel_of
from cogen.fusion.moe.targets import (
    PARTS,
    MoeArchitecture,
    ffn_tensor,
    full_config,
    mixture_config,
    own_head,
    target_of,
)
from cogen.fusion.moe.train_routers import training_tokens
from cogen.fusion.moe.validate import TOP_K, check_routing, no_prefix, pick_routing
from cogen.fusion.plan import Cost, PlannedSuite
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.routing_data import Needs, data_notes, extra_tokens, origin_of
from cogen.fusion.samples import sample_texts
from cogen.routing.anchors import SIZED_TOKENS
from cogen.routing.turns import user_mark

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.host import Expert
    from cogen.merging.method import Method

#: Widths are padded to a multiple of this many columns: torch's grouped matrix product wants rows of whole 16 bytes.
ALIGNED = 8


def plan_mixture(
    base: Checkpoint, tokenizer: Any, experts: Mapping[str, Checkpoint], chosen: Sequence[Expert], recipe: FuseRecipe
) -> MoeDetails:
    """
    :param tokenizer: the base's.
    :param experts: by id, in the plan's order.
    :raises CompatibilityError: the base's architecture has no mixture, or an expert's shapes don't fit.
    """
    config = full_config(base)
    target = target_of(config)
    layers = layers_of(base)
    for id, checkpoint in experts.items():
        _same_but_widths(base, id, checkpoint)
    slots = (*(("base",) if recipe.public else ()), *experts)
    widest = max(width_of(checkpoint) for checkpoint in (base, *experts.values()))
    width = -(-widest // ALIGNED) * ALIGNED
    top_k = min(recipe.top_k or TOP_K, len(slots))
    routing = pick_routing(chosen, recipe, prefix=_obstacle(base, config) is None)
    check_routing(chosen, recipe, routing)
    hidden = int(config["hidden_size"])
    mixture_config(config, target, len(slots), top_k, width)  # what its class would read otherwise is refused here
    merged = merged_names(base, list(experts.values()), target, layers)
    prefix = _prefix(base, config, tokenizer, len(experts), recipe) if routing == "prefix" else None
    # Common features of many experts' evidence depend on all of them.
    deletable = prefix is None or (
        prefix.public == "base" and layout_of(config, len(experts)).evidences == len(experts)
    )
    found = MoeDetails(
        model_type=target.model_type,
        architecture=target.architecture,
        routing=routing,
        top_k=top_k,
        slots=slots,
        layers=layers,
        hidden=hidden,
        width=width,
        merged=len(merged),
        parameters=0,
        active=0,
        exact=not merged and routing != "trained" and deletable,
        embedder=_embedder(recipe, chosen) if routing == "embedding" else None,
        prefix=prefix,
        servable=target.demanding,
    )
    total = sum(math.prod(shape) for _, shape in extents_of(base, found).values())
    idle = (len(slots) - top_k) * layers * len(PARTS) * (prefix.hidden if prefix else hidden) * width
    return found.model_copy(update={"parameters": total, "active": total - idle})


def _obstacle(base: Checkpoint, config: Mapping[str, Any]) -> str | None:
    """Why this base has no routing prefix, where no recipe asks for it."""
    if target_of(config).norm is None:
        return "routing prefix: the base has its norms behind the blocks"
    try:
        kernel_of(base, PREFIX)
    except CompatibilityError as error:
        return str(error)
    return None


def default_note(base: Checkpoint, mixture: MoeDetails, chosen: Sequence[Expert], recipe: FuseRecipe) -> list[str]:
    """Why the routers are trained, where the recipe left the choice and routing prefix is not possible."""
    if recipe.routing is not None or mixture.routing != "trained":
        return []
    reason = no_prefix(chosen, recipe) or (_obstacle(base, full_config(base)) or "").removeprefix("routing prefix: ")
    return [f"routers are trained, since routing prefix is not possible here: {reason}"]


#: What routers multiply mean evidence by, and what the prefix token weighs; chosen on the dev splits of the reference
#: experts.
STRENGTH, MASS = 20.0, 20.0
#: As planned before the sizes of the base are known.
PREFIX = PlannedPrefix(public="mean", hidden=0, heads=0, groups=0, depth=0.0, strength=STRENGTH, mass=MASS)
#: How much of what stands before a message of the user is taken out of the average there; chosen like the others. A
#: little more than all of it: the kernel is not quite exponential, and leaves a part.
RESET = 1.2


def _prefix(
    base: Checkpoint, config: Mapping[str, Any], tokenizer: Any, experts: int, recipe: FuseRecipe
) -> PlannedPrefix:
    """:raises CompatibilityError: the base's positions or norms make no head that averages over the prefix."""
    kernel = kernel_of(base, PREFIX)
    turn = user_mark(tokenizer, calibration_texts()) if can_forget(base, kernel, MASS) else None
    layout = layout_of(config, experts, turns=turn is not None)
    if target_of(config).whole_heads:
        layout = layout_of(config, experts, turns=turn is not None, wide=of_whole_heads(layout))
    sizes = {"hidden": layout.wide, "heads": layout.heads + layout.extra_heads, "groups": layout.groups + 1}
    resets = {"turn": turn, "reset": RESET if turn is not None else 0.0}
    own = {"public": recipe.public_expert or "mean", "depth": kernel.depth}
    return PREFIX.model_copy(update=own | sizes | resets)


def merged_names(base: Checkpoint, experts: Sequence[Checkpoint], target: MoeArchitecture, layers: int) -> list[str]:
    """Tensors that experts changed, and that are neither feed-forward block nor folded norm."""
    norms = {target.norm.format(layer=layer) for layer in range(layers)} if target.norm else set()
    return [name for name in changed_names(base, experts) if ffn_tensor(name) is None and name not in norms]


def _same_but_widths(base: Checkpoint, id: str, expert: Checkpoint) -> None:
    """Names agree, and shapes but for the intermediate size."""

    def shapes(checkpoint: Checkpoint) -> dict[str, tuple[int | None, ...]]:
        found: dict[str, tuple[int | None, ...]] = {}
        for name, info in checkpoint.tensors.items():
            place = ffn_tensor(name)
            rows, *columns = info.shape or (0,)
            if place is None:
                found[name] = info.shape
            else:
                found[name] = (rows, None) if place[1] == "down_proj" else (None, *columns)
        return found

    own, common = shapes(expert), shapes(base)
    if own != common:
        name = min(n for n in own.keys() | common.keys() if own.get(n) != common.get(n))
        raise CompatibilityError(
            f"{id} and its base differ at {name}: {own.get(name, 'missing')} and {common.get(name, 'missing')}",
            hint=f"leave {id} out: a mixture shares all but feed-forward blocks; `--strategy route` shares nothing",
        )


def _embedder(recipe: FuseRecipe, chosen: Sequence[Expert]) -> tuple[str, str]:
    from cogen.fusion.embedders import choose_embedder

    found = choose_embedder(recipe, chosen)
    return found.source, found.digest or ""


def averaged(recipe: FuseRecipe, chosen: Sequence[Expert], find: Callable[[str], Method]) -> FuseRecipe:
    """The recipe for what is not a feed-forward block: the plain average, unless it says otherwise.

    :param find: gives a method by its name.
    """
    name = recipe.method if "method" in recipe.model_fields_set else "linear"
    scale = recipe.scale
    if scale is None:
        # One that adds differences up goes N times as far as one that averages them.
        weights = [recipe.options(expert.id).weight for expert in chosen]
        numbers = [weight for weight in weights if isinstance(weight, int | float)]
        scale = 1.0 / math.fsum(numbers) if find(name).adds and len(numbers) == len(weights) else 1.0
    return recipe.model_copy(update={"method": name, "scale": scale})


def extents_of(base: Checkpoint, mixture: MoeDetails) -> dict[str, tuple[str, tuple[int, ...]]]:
    """See :func:`~cogen.fusion.moe.assemble.mixture_extents`."""
    config = full_config(base)
    hidden = mixture.hidden if mixture.prefix is None else mixture.prefix.hidden
    found = mixture_extents(base, target_of(config), mixture.layers, hidden, mixture.width, len(mixture.slots))
    if mixture.prefix is not None:
        layout = planned_layout(config, mixture)
        shared = [name for name in found if name in base.tensors]
        found |= {name: (found[name][0], layout.shape(name, found[name][1])) for name in shared}
    return found | ({HEAD: found[EMBEDDING]} if own_head(config, mixture) else {})


def mixture_cost(
    cost: Cost,
    mixture: MoeDetails,
    chosen: Sequence[Expert],
    suites: Sequence[PlannedSuite],
    tokenizer: Any,
    matrix: MatrixKind = "full",
) -> Cost:
    """With the tokens that make the routers, and those that show what each expert contributes.

    :param matrix: what the mixture is measured on without an expert.
    """
    samples = extra_tokens(chosen, needs_of(mixture))
    if mixture.routing in ("hidden", "trained"):
        own = [expert for expert in chosen if origin_of(expert, "states") == "samples"]
        texts = [*calibration_texts(), *(text for expert in own for text in sample_texts(expert))]
        samples += sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
    elif mixture.routing == "embedding":
        samples += sum(len(ids) for ids in tokenizer(calibration_texts(), add_special_tokens=False)["input_ids"])
    elif mixture.routing == "prefix":
        samples += SIZED_TOKENS
    texts_of = [suite for suite in suites if suite.metric == "bits_per_byte"]
    # To look at the routers; then the whole mixture, and without each expert.
    looks = [texts_of]
    if len(mixture.slots) > 1:
        looks += [texts_of, *(left_out_on(expert.id, texts_of, matrix) for expert in chosen)]
    trained = training_tokens(len(chosen)) if mixture.tuned else 0
    return cost.model_copy(
        update={
            "routing_tokens": samples + 4 * trained,  # the teacher's pass, and a step forward and back counts as three
            "insight_tokens": sum(min(one.test_tokens, QUICK_TOKENS["test"]) for look in looks for one in look),
            "scratch_bytes": cost.output_bytes if mixture.tuned else 0,
        }
    )


def needs_of(mixture: MoeDetails) -> Needs:
    """What its routers have to know of an expert's text, each with the embedding model that it is for."""
    if mixture.routing == "anchored":
        return []
    if mixture.routing == "prefix":
        return [("tokens", "")]
    if mixture.routing == "embedding":
        return [("embedding", (mixture.embedder or ("", ""))[0])]
    return [("states", ""), ("text", "")] if mixture.tuned else [("states", "")]


def routing_notes(mixture: MoeDetails, chosen: Sequence[Expert]) -> list[str]:
    """What takes the place of samples where an expert ships none."""
    return data_notes(chosen, needs_of(mixture))


def engine_notes(mixture: MoeDetails) -> list[str]:
    """What the mixture's architecture is to other engines; see docs/compatibility.md."""
    slots = len(mixture.slots)
    if not mixture.servable or mixture.top_k == slots:
        return []
    return [
        f"llama.cpp and mlx-lm do not read norm_topk_prob of {mixture.architecture}, so they compute something else; "
        f"for them, let all experts work on every token: --top-k {slots}"
    ]


def evidence_notes(base: Checkpoint, mixture: MoeDetails) -> list[str]:
    """Under routing prefix: more experts than the extra head carries evidence for, and what follows from it."""
    experts = len(mixture.slots) - 1
    carried = layout_of(full_config(base), experts).evidences
    if mixture.prefix is None or carried == experts:
        return []
    return [
        f"the extra head carries evidence in {carried} dimensions: {experts:,} experts share features of their tokens, "
        "which are made again whenever an expert comes or goes; the more experts, the less sure the routers"
    ]


def why(mixture: MoeDetails, chosen: Sequence[Expert]) -> str:
    """Why these experts are stacked; the same for the same experts and routers, whoever chose the strategy."""
    count = "one expert" if len(chosen) == 1 else f"{len(chosen)} experts of one base and tokenizer"
    trained = "all ship a router row that was trained for it"
    reason = trained if mixture.routing == "anchored" else "you asked for it"
    return f"{count} become one {mixture.architecture} ({reason})"
