"""From wishes and installed experts to a :class:`Plan`; everything that can be refused is refused here.

Only manifests, headers and tokenizers are read: no weight is, unless the base was never converted.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.checkpoints.sources import Talk, silent
from cogen.errors import CompatibilityError, UsageError
from cogen.evals import GENERAL, BoundSuite, count_tokens, general_suites, suites_of
from cogen.fusion.calibration import sample_texts
from cogen.fusion.merge.method import BLOCK, Method, whole_tensor
from cogen.fusion.merge.parameters import for_tensor
from cogen.fusion.plan import Cost, Note, Plan, PlannedExpert, PlannedSuite
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.space import Sought, sought
from cogen.fusion.stream import usable_cores
from cogen.host import Expert, Host
from cogen.spec.expert import canonical_digest
from cogen.spec.model import BaseRef


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


def make_plan(host: Host, recipe: FuseRecipe, *, talk: Talk = silent) -> tuple[Plan, Inputs]:
    """Check that the wishes are possible and say what will be done.

    :raises UsageError: no expert, an unknown one, an unknown method or parameter.
    :raises CompatibilityError: different lineages, tokenizers or shapes, or a licence that forbids it.
    """
    chosen = _chosen(host, recipe)
    method = find_method(host, recipe.method)
    search = sought(chosen, recipe, method)
    _refuse_parameters(method, recipe, search, chosen)
    base_ref = _one_lineage(chosen)
    _permitted(chosen)
    _one_tokenizer(chosen, chosen[0].spec.tokenizer.digest, f"that of {chosen[0].id}")
    base = open_weights(base_ref, talk=talk)
    tokenizer = load_tokenizer(base.folder)
    digest = tokenizer_digest(tokenizer)
    _one_tokenizer(chosen, digest, "its base's")
    opened = {expert.id: open_weights(expert.spec.model, talk=talk) for expert in chosen}
    # Sums are made in an order that doesn't depend on that of the wishes; where the order has a meaning it is kept.
    by_digest = sorted(chosen, key=lambda expert: (expert.spec.model.weights_digest, expert.id))
    order = chosen if method.ordered else by_digest
    _same_tensors(base, opened)
    suites = [suite for expert in sorted(chosen, key=lambda e: e.id) for suite in suites_of(expert)] + general_suites()
    if search.evaluations and not any(b.owner != GENERAL and b.suite.metric == "bits_per_byte" for b in suites):
        raise UsageError(
            "no expert has a bits-per-byte suite to search on", hint="give one scale and no search, e.g. --scale 0.5"
        )
    planned = _suites(suites, recipe, tokenizer)
    changed = [name for name in base.names() if any(checkpoint.changed(name) for checkpoint in opened.values())]
    plan = Plan(
        cogen=importlib.metadata.version("cogen-core"),
        strategy="merge",
        method=recipe.method,
        why=_why(chosen, recipe, method),
        base=base_ref,
        tokenizer_digest=digest,
        architecture=chosen[0].spec.model.architecture,
        dtype=base_ref.dtype,
        experts=tuple(_expert(expert, recipe) for expert in order),
        parameters=dict(sorted(recipe.parameters.items())),
        scales=search.scales,
        search=search.search,
        space=search.space,
        level=recipe.level,
        eval_dtype="float32" if recipe.level == "full" else "bfloat16",
        suites=planned,
        license=_license(chosen, base_ref),
        tensors=len(base.tensors),
        changed_tensors=len(changed),
        cost=_cost(base, changed, chosen, planned, search, recipe),
        notes=_notes(chosen, recipe),
    )
    return _reviewed(host, plan), Inputs(
        host, base, {expert.id: opened[expert.id] for expert in order}, tokenizer, suites
    )


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
    method.refuse_parameters({**dict.fromkeys(n for n in others if n in method.parameters), **parameters})
    return method


def _refuse_parameters(method: Method, recipe: FuseRecipe, search: Sought, chosen: Sequence[Expert]) -> None:
    """Try the recipe's parameters on single numbers, so that a wrong value is refused before anything is fetched."""
    own = [recipe.wish(expert.id).parameters for expert in chosen]
    middle = {name: (low + high) / 2 for name, (low, high) in search.space.items() if name in method.parameters}
    parameters = for_tensor("", 0.0, {**middle, **recipe.parameters}, own, method.per_expert)
    method.refuse(parameters, 2 if method.pairs_with_base(len(chosen)) else len(chosen))
    weights = {str(recipe.wish(expert.id).weight) for expert in chosen}
    if not method.weighted and (len(weights) > 1 or any(name.startswith("weight.") for name in search.space)):
        raise UsageError(f"method {method.name} takes no weights", hint="leave them out, or choose another method")
    if method.calibrated:
        for expert in chosen:
            sample_texts(expert)


def _chosen(host: Host, recipe: FuseRecipe) -> list[Expert]:
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


def _one_lineage(chosen: Sequence[Expert]) -> BaseRef:
    for expert in chosen:
        relation = expert.spec.model.relation
        if relation not in ("full", "adapter", "ffn"):
            raise CompatibilityError(
                f"{expert.id} is {relation!r}: strategy merge takes full, adapter and ffn experts",
                hint=f"leave {expert.id} out",
            )
    groups: dict[str, list[Expert]] = {}
    for expert in chosen:
        groups.setdefault(expert.spec.model.lineage, []).append(expert)
    if len(groups) > 1:
        largest = max(groups.values(), key=len)
        told = "; ".join(f"{', '.join(e.id for e in group)} from {_base(group[0]).name}" for group in groups.values())
        raise CompatibilityError(
            f"the experts descend from different bases and cannot be merged weight by weight: {told}",
            hint=f"name experts of one base: cogen fuse {' '.join(e.id for e in largest)}",
        )
    # Equal lineage may be packaged in several ways; which one is used must not depend on the order of the wishes.
    return _base(min(chosen, key=lambda e: (e.spec.model.weights_digest, e.id)))


def _base(expert: Expert) -> BaseRef:
    base = expert.spec.model.base
    assert base is not None  # full, adapter and ffn experts have one: the spec's validator demands it
    return base


def _permitted(chosen: Sequence[Expert]) -> None:
    for expert in chosen:
        if expert.spec.derivatives == "no":
            raise CompatibilityError(
                f"the publisher of {expert.id} does not allow derived models",
                hint=f"leave {expert.id} out, or ask {expert.spec.publisher}",
            )
    alike = {e.spec.license for e in chosen if e.spec.derivatives == "share-alike"}
    if len(alike) > 1:
        raise CompatibilityError(
            f"two experts demand to be shared under different licences: {' and '.join(sorted(alike))}",
            hint="leave one of them out",
        )


def _license(chosen: Sequence[Expert], base: BaseRef) -> str:
    """share-alike wins, one licence for all stays, else all and the base's together; nothing unknown is hidden."""
    alike = {e.spec.license for e in chosen if e.spec.derivatives == "share-alike"}
    licences = sorted(alike or {base.license, *(e.spec.license for e in chosen)})
    if "unknown" in licences or len(licences) == 1:
        return "unknown" if "unknown" in licences else licences[0]
    return " AND ".join(f"({text})" if " OR " in text else text for text in licences)


def _one_tokenizer(chosen: Sequence[Expert], digest: str, whose: str) -> None:
    for expert in chosen:
        if expert.spec.tokenizer.digest != digest:
            raise CompatibilityError(
                f"the tokenizer of {expert.id} is not {whose}",
                hint=f"leave {expert.id} out: its embeddings mean other tokens",
            )


def _same_tensors(base: Checkpoint, opened: dict[str, Checkpoint]) -> None:
    shapes = {name: info.shape for name, info in base.tensors.items()}
    for id, checkpoint in opened.items():
        theirs = {name: info.shape for name, info in checkpoint.tensors.items()}
        if theirs != shapes:
            name = min(name for name in theirs.keys() | shapes.keys() if theirs.get(name) != shapes.get(name))
            raise CompatibilityError(
                f"{id} and its base differ at {name}: {theirs.get(name, 'missing')} and {shapes.get(name, 'missing')}",
                hint=f"leave {id} out; merging needs the same tensors",
            )


def _expert(expert: Expert, recipe: FuseRecipe) -> PlannedExpert:
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
    )


def _suites(suites: list[BoundSuite], recipe: FuseRecipe, tokenizer: Any) -> tuple[PlannedSuite, ...]:
    if recipe.level == "none":
        return ()
    wanted = [b for b in suites if recipe.level == "full" or b.suite.metric == "bits_per_byte"]
    test = count_tokens(tokenizer, wanted, "test", recipe.level)
    dev = count_tokens(tokenizer, [b for b in wanted if b.suite.metric == "bits_per_byte"], "dev", "quick")
    from cogen.checkpoints.digests import file_digest

    return tuple(
        PlannedSuite(
            owner=b.owner, id=b.suite.id, title=b.suite.title, metric=b.suite.metric,
            task_digest=file_digest(b.root / Path(b.suite.task)),
            dev_digest=b.suite.dev.digest, test_digest=b.suite.test.digest,
            dev_tokens=dev.get((b.owner, b.suite.id), 0), test_tokens=test[b.owner, b.suite.id],
        )
        for b in wanted
    )  # fmt: skip


def _cost(
    base: Checkpoint, changed: list[str], chosen: Sequence[Expert], suites: tuple[PlannedSuite, ...],
    search: Sought, recipe: FuseRecipe,
) -> Cost:  # fmt: skip
    size = sum(info.stop - info.start for info in base.tensors.values())
    touched = sum(base.tensors[name].stop - base.tensors[name].start for name in changed)
    wide = 4 if recipe.level == "full" else 2
    parameters = sum(info.numel for info in base.tensors.values())
    return Cost(
        search_tokens=search.evaluations * sum(s.dev_tokens for s in suites if s.owner != "general"),
        matrix_tokens=(len(chosen) + 2) * sum(s.test_tokens for s in suites),
        output_bytes=size,
        scratch_bytes=touched if search.evaluations else 0,
        # A model in the evaluation's type, the blocks under way, and 1 GB of libraries and activations.
        memory_bytes=(parameters * wide if recipe.level != "none" else 0)
        + usable_cores() * 4 * (len(chosen) + 4) * 4 * BLOCK
        + (1 << 30),
    )


def _why(chosen: Sequence[Expert], recipe: FuseRecipe, method: Method) -> str:
    if method.pairs_with_base(len(chosen)):
        return f"one expert: {method.name} goes from its base to it"
    if len(chosen) == 1:
        return "one expert: it is scaled against its base"
    asked = "you asked for it" if recipe.strategy == "merge" else "the only strategy of this version"
    return f"{len(chosen)} experts of one base, tokenizer and shape: they merge weight by weight ({asked})"


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


def _reviewed(host: Host, plan: Plan) -> Plan:
    """Let the plugins see the plan; a veto ends it."""
    notes = list(plan.notes)
    for source, diagnostic in host.review(plan):
        if diagnostic.severity == "veto":
            raise CompatibilityError(f"{source} vetoes this plan: {diagnostic.message}", hint=diagnostic.hint)
        notes.append(Note(severity=diagnostic.severity, source=source, message=diagnostic.message))
    return plan.model_copy(update={"notes": tuple(notes)})
