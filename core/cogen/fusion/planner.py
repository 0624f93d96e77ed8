"""From wishes and installed experts to a :class:`Plan`; everything that can be refused is refused here.

Only manifests, headers and tokenizers are read: no weight is, unless the base was never converted.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.checkpoints.sources import Talk, silent
from cogen.errors import UsageError
from cogen.evals import GENERAL, BoundSuite, general_suites, suites_of
from cogen.fusion.compatible import check_licenses, license_of, one_lineage, one_tokenizer, same_tensors
from cogen.fusion.costs import planned_cost, planned_suites
from cogen.fusion.decision import planned_vocabulary
from cogen.fusion.merge.shapes import changed_names, extents
from cogen.fusion.merge.space import SearchSpace, search_space
from cogen.fusion.merge.tokenizer import CompositeTokenizer, check_tokenizer, plan_tokenizer
from cogen.fusion.moe.mixture import averaged, extents_of, mixture_cost, plan_mixture, why
from cogen.fusion.moe.targets import DENSE
from cogen.fusion.moe.validate import check_merge_options, check_moe, pick_strategy
from cogen.fusion.plan import Note, Plan, PlannedExpert
from cogen.fusion.recipe import FuseRecipe, Strategy
from cogen.fusion.review import reviewed
from cogen.fusion.samples import sample_texts
from cogen.host import Expert, Host
from cogen.merging.method import Method, whole_tensor
from cogen.merging.parameters import for_tensor
from cogen.spec.expert import canonical_digest


@dataclass(frozen=True)
class Inputs:
    """What a plan talks about, opened: in the plan's order of experts."""

    host: Host
    base: Checkpoint
    experts: dict[str, Checkpoint]
    tokenizer: Any
    suites: list[BoundSuite]
    #: Expert's id → tensor name → Gram matrix of what goes into it; for methods that need it.
    grams: Mapping[str, Mapping[str, Any]] | None = None
    #: Vocabulary and chat template, where the recipe says something about them.
    lexicon: CompositeTokenizer | None = None


def make_plan(host: Host, recipe: FuseRecipe, *, talk: Talk = silent) -> tuple[Plan, Inputs]:
    """Check that the wishes are possible and say what will be done.

    :raises UsageError: no expert, an unknown one, an unknown method or parameter.
    :raises CompatibilityError: different lineages, tokenizers or shapes, or a licence that forbids it.
    """
    chosen = chosen_experts(host, recipe)
    strategy = pick_strategy(chosen, recipe)
    if strategy in ("route", "distill"):
        raise UsageError(f"strategy {strategy} has a plan of another kind", hint="`cogen fuse` carries it out")
    base_ref = one_lineage(chosen)
    check_licenses(chosen)
    if strategy == "merge":
        check_merge_options(recipe)
    else:
        check_moe(chosen, recipe)
        recipe = averaged(recipe, chosen, functools.partial(find_method, host))
    method = find_method(host, recipe.method)
    search = search_space(chosen, recipe, method)
    _check_parameters(method, recipe, search, chosen)
    check_tokenizer(recipe, chosen)
    if recipe.tokenizer is None:
        one_tokenizer(chosen, chosen[0].spec.tokenizer.digest, f"that of {chosen[0].id}")
    base = open_weights(base_ref, talk=talk)
    tokenizer = load_tokenizer(base.folder)
    digest = tokenizer_digest(tokenizer)
    if recipe.tokenizer is None:
        one_tokenizer(chosen, digest, "its base's", united=strategy == "merge")
    opened = {expert.id: open_weights(expert.spec.model, talk=talk) for expert in chosen}
    # Sums are made in an order that doesn't depend on that of the wishes; where the order has a meaning it is kept.
    by_digest = sorted(chosen, key=lambda expert: (expert.spec.model.weights_digest, expert.id))
    order = chosen if method.ordered else by_digest
    inputs = {expert.id: opened[expert.id] for expert in order}
    lexicon = plan_tokenizer(recipe, base, inputs, chosen, tokenizer, digest)
    vocabulary = lexicon.vocabulary if lexicon is not None else None
    mixture = plan_mixture(base, inputs, chosen, recipe) if strategy == "moe" else None
    if mixture is None:
        same_tensors(base, inputs, vocabulary)
    suites = [suite for expert in sorted(chosen, key=lambda e: e.id) for suite in suites_of(expert)] + general_suites()
    if search.evaluations and not any(b.owner != GENERAL and b.suite.metric == "bits_per_byte" for b in suites):
        raise UsageError(
            "no expert has a bits-per-byte suite to search on", hint="give one scale and no search, e.g. --scale 0.5"
        )
    planned = planned_suites(suites, recipe, tokenizer)
    found = extents(base, vocabulary) if mixture is None else extents_of(base, mixture)
    changed = changed_names(base, opened.values(), vocabulary)
    cost = planned_cost(found, changed if vocabulary is None else list(found), chosen, planned, search, recipe)
    plan = Plan(
        cogen=importlib.metadata.version("cogen-core"),
        strategy=strategy,
        method=recipe.method,
        why=_why(chosen, recipe, method) if mixture is None else why(mixture, chosen),
        base=base_ref,
        tokenizer_digest=digest,
        architecture=chosen[0].spec.model.architecture,
        dtype=base_ref.dtype,
        experts=tuple(planned_expert(expert, recipe) for expert in order),
        parameters=dict(sorted(recipe.parameters.items())),
        scales=search.scales,
        search=search.search,
        space=search.space,
        level=recipe.level,
        eval_dtype="float32" if recipe.level == "full" else "bfloat16",
        suites=planned,
        license=license_of(chosen, base_ref),
        tensors=len(found),
        changed_tensors=len(changed) if mixture is None else mixture.merged,
        cost=cost if mixture is None else mixture_cost(cost, mixture, chosen, planned, tokenizer),
        notes=_notes(chosen, recipe),
        tokenizer=recipe.tokenizer,
        transplant=recipe.transplant,
        chat_template=recipe.chat_template,
        vocabulary=None if lexicon is None or vocabulary is None else planned_vocabulary(vocabulary, lexicon.digest),
        mixture=mixture,
    )
    return reviewed(host, plan), Inputs(host, base, inputs, tokenizer, suites, lexicon=lexicon)


def strategy_of(host: Host, recipe: FuseRecipe) -> Strategy:
    """What the wishes come to on what is installed; see :func:`~cogen.fusion.moe.validate.pick_strategy`."""
    return pick_strategy(chosen_experts(host, recipe), recipe)


def find_method(host: Host, name: str) -> Method:
    """A method by its name.

    A plugin may register a :class:`Method`, or a plain function ``f(base, experts, weights, *, …)`` on whole tensors.
    """
    methods = host.methods()
    if name not in methods:
        raise UsageError(f"there is no merge method {name!r}", hint=f"known are {', '.join(sorted(methods))}")
    found = Host.resolve(methods[name])
    return found if isinstance(found, Method) else whole_tensor(name, found)


def resolve_method(host: Host, name: str, parameters: Mapping[str, Any], others: Iterable[str] = ()) -> Method:
    """The method; parameters that it does not take are refused by name, never ignored.

    :param others: parameters that will be given elsewhere, for example those that are tuned.
    """
    method = find_method(host, name)
    method.check_parameters({**dict.fromkeys(n for n in others if n in method.parameters), **parameters})
    return method


def _check_parameters(method: Method, recipe: FuseRecipe, search: SearchSpace, chosen: Sequence[Expert]) -> None:
    """Try the recipe's parameters on single numbers, so that a wrong value is refused before anything is fetched."""
    own = [recipe.wish(expert.id).parameters for expert in chosen]
    middle = {name: (low + high) / 2 for name, (low, high) in search.space.items() if name in method.parameters}
    parameters = for_tensor("", 0.0, {**middle, **recipe.parameters}, own, method.per_expert)
    method.check(parameters, 2 if method.pairs_with_base(len(chosen)) else len(chosen))
    weights = {str(recipe.wish(expert.id).weight) for expert in chosen}
    if not method.weighted and (len(weights) > 1 or any(name.startswith("weight.") for name in search.space)):
        raise UsageError(f"method {method.name} takes no weights", hint="leave them out, or choose another method")
    if method.calibrated:
        for expert in chosen:
            sample_texts(expert)


def chosen_experts(host: Host, recipe: FuseRecipe) -> list[Expert]:
    experts = [host.expert(id) for id in recipe.experts] if recipe.experts else list(host.experts(computed=True))
    if not experts:
        unusable = [plugin.name for plugin in host.plugins if plugin.state != "ok"]
        if unusable:
            raise UsageError(
                f"none of the installed plugins can be used: {', '.join(unusable[:5])}",
                hint="`cogen doctor` says why and what mends it",
            )
        raise UsageError(
            "no expert is installed", hint="pip install cogen-plugin-…; `cogen list` shows what is there and why not"
        )
    return experts


def planned_expert(expert: Expert, recipe: FuseRecipe) -> PlannedExpert:
    spec = expert.spec
    return PlannedExpert(
        id=spec.id,
        title=spec.title,
        distribution=expert.distribution,
        version=expert.version,
        publisher=spec.publisher,
        license=spec.license,
        derivatives=spec.derivatives,
        relation=spec.model.relation,
        spec_digest=spec.digest,
        file_digest=spec.model.file_digest,
        weights_digest=spec.model.weights_digest,
        data_digest=canonical_digest(spec.data.model_dump(mode="json")),
        weight=recipe.wish(spec.id).weight,
        parameters=dict(sorted(recipe.wish(spec.id).parameters.items())),
        tokenizer_digest=spec.tokenizer.digest,
    )


def _why(chosen: Sequence[Expert], recipe: FuseRecipe, method: Method) -> str:
    if method.pairs_with_base(len(chosen)):
        return f"one expert: {method.name} goes from its base to it"
    if len(chosen) == 1:
        return "one expert: it is scaled against its base"
    alike = "base, tokenizer and shape" if recipe.tokenizer is None else "base"
    stacks = recipe.tokenizer is None and all(expert.spec.model.architecture in DENSE for expert in chosen)
    other = "--strategy moe stacks them" if stacks else "--strategy route keeps them apart"
    return f"{len(chosen)} experts of one {alike}: they merge weight by weight ({other} instead)"


def _notes(chosen: Sequence[Expert], recipe: FuseRecipe) -> tuple[Note, ...]:
    notes = []
    if len({e.spec.license for e in chosen}) > 1:
        notes.append(
            Note(
                severity="warning",
                source="cogen",
                message="the experts have different licences: read them before you publish",
            )
        )
    for expert in chosen:
        if expert.spec.data.personal_data in ("present", "unknown"):
            said = f"{expert.id}: personal data in training: {expert.spec.data.personal_data}"
            notes.append(Note(severity="warning", source="cogen", message=said))
    return tuple(notes)
