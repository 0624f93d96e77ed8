"""The base and experts of a recipe, opened: what merges and mixtures of experts of one base start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_expert_tokenizer, load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.errors import UsageError
from cogen.evals import GENERAL, BoundSuite, general_suites, suites_of
from cogen.fusion.compatible import one_tokenizer
from cogen.fusion.generated import Writer
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.merge.space import SearchSpace, search_space
from cogen.fusion.merge.tokenizer import CompositeTokenizer, check_tokenizer, plan_tokenizer
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.routing_data import texts_of, writer_of
from cogen.host import Expert, Host
from cogen.merging.configurations import COUNTS, check_same_function
from cogen.merging.method import Method
from cogen.merging.parameters import for_tensor
from cogen.merging.vocabulary import Vocabulary
from cogen.merging.vocabulary.tokens import has_tokenizer
from cogen.reporter import SILENT, Reporter
from cogen.spec.model import BaseRef


@dataclass(frozen=True)
class Inputs:
    """What a plan refers to, opened: in the plan's order of experts."""

    host: Host
    base: Checkpoint
    experts: dict[str, Checkpoint]
    tokenizer: Any
    suites: list[BoundSuite]
    #: Vocabulary and chat template, where the recipe chooses them.
    composite_tokenizer: CompositeTokenizer | None = None

    @property
    def models(self) -> dict[str, Checkpoint]:
        """Base and experts, by name."""
        return {"base": self.base, **self.experts}


@dataclass(frozen=True)
class OpenedInputs:
    """What :func:`open_inputs` found on the way, which the plan records.

    :param recipe: with what the strategy filled in.
    :param order: the experts in the order of ``inputs``.
    :param digest: of the base's tokenizer.
    """

    inputs: Inputs
    recipe: FuseRecipe
    base: BaseRef
    method: Method
    search: SearchSpace
    chosen: Sequence[Expert]
    order: Sequence[Expert]
    digest: str

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Where the recipe chooses one: of the base (0) and of the experts (1, 2 …)."""
        found = self.inputs.composite_tokenizer
        return None if found is None else found.vocabulary


def open_inputs(
    host: Host,
    recipe: FuseRecipe,
    chosen: Sequence[Expert],
    base: BaseRef,
    *,
    united: bool,
    reporter: Reporter = SILENT,
) -> OpenedInputs:
    """Check the options against manifests, then open base and experts: headers and tokenizers, no weights.

    :param united: the strategy can merge vocabularies.
    :raises UsageError: a method, parameter or search that is impossible.
    :raises CompatibilityError: tokenizers differ, or an expert's weights compute something else in its base's place.
    """
    method = find_method(host, recipe.method)
    search = search_space(chosen, recipe, method)
    _check_parameters(method, recipe, search, chosen)
    check_tokenizer(recipe, chosen)
    if recipe.tokenizer is None:
        one_tokenizer(chosen, chosen[0].spec.tokenizer.digest, f"that of {chosen[0].id}")
    opened_base = open_weights(base, reporter=reporter)
    tokenizer = load_tokenizer(opened_base.folder)
    digest = tokenizer_digest(tokenizer)
    if recipe.tokenizer is None:
        one_tokenizer(chosen, digest, "its base's", united=united)
    bases = {base.model_dump_json(): opened_base}
    opened = {expert.id: open_weights(expert.spec.model, reporter=reporter, bases=bases) for expert in chosen}
    for id, checkpoint in opened.items():
        # With a vocabulary of its own, the composite decides whether its head is its embedding; and where tensors
        # differ, in it or in their number, they say so with a better hint.
        others = checkpoint.names() != opened_base.names()
        heads = ("tie_word_embeddings",) if recipe.tokenizer is not None or others else ()
        ignored = (*heads, *(COUNTS if others else ()))
        check_same_function(
            opened_base.config,
            checkpoint.config,
            f"{base.name}, its base",
            id,
            ignored=ignored,
            otherwise=", keep it apart (--strategy route)",
        )
    # Sums are made in an order that doesn't depend on that of the recipe; where the order has a meaning it is kept.
    by_digest = sorted(chosen, key=lambda expert: (expert.spec.model.weights_digest, expert.id))
    order = chosen if method.ordered else by_digest
    experts = {expert.id: opened[expert.id] for expert in order}
    composite = plan_tokenizer(recipe, opened_base, experts, chosen, tokenizer, digest)
    inputs = Inputs(host, opened_base, experts, tokenizer, all_suites(chosen), composite)
    return OpenedInputs(inputs, recipe, base, method, search, chosen, order, digest)


def check_searchable(search: SearchSpace, suites: Sequence[BoundSuite]) -> None:
    """:raises UsageError: something is searched for, and no expert has a suite to measure candidates on."""
    if search.evaluations and not any(b.owner != GENERAL and b.suite.metric == "bits_per_byte" for b in suites):
        raise UsageError(
            "no expert has a bits-per-byte suite to search on", hint="give one scale and no search, e.g. --scale 0.5"
        )


def all_suites(chosen: Sequence[Expert]) -> list[BoundSuite]:
    """Those of the experts, by id, and the general ones."""
    return [suite for expert in sorted(chosen, key=lambda e: e.id) for suite in suites_of(expert)] + general_suites()


def tokenizer_of(inputs: Inputs, row: str, digest: str) -> tuple[Any, str]:
    """The tokenizer that a row of the matrix is measured with, and its digest: every model reads with its own.

    :param row: "base", the id of an expert, or "composite".
    :param digest: of the base's tokenizer.
    """
    composite = inputs.composite_tokenizer
    if composite is None or composite.vocabulary is None or row == "base":
        return inputs.tokenizer, digest
    if row == "composite":
        return composite.tokenizer, composite.digest
    checkpoint = inputs.experts[row]
    if not has_tokenizer(checkpoint.folder):
        checkpoint = inputs.base
    own = load_expert_tokenizer(inputs.host, inputs.host.expert(row).spec, checkpoint)
    return own, tokenizer_digest(own)


def _check_parameters(method: Method, recipe: FuseRecipe, search: SearchSpace, chosen: Sequence[Expert]) -> None:
    """Try the recipe's parameters on single numbers, so that a wrong value is refused before anything is fetched."""
    own = [recipe.options(expert.id).parameters for expert in chosen]
    for settings in (recipe.parameters, *own):
        method.check_types(settings)
    middle = {name: (low + high) / 2 for name, (low, high) in search.space.items() if name in method.parameters}
    parameters = for_tensor("", 0.0, {**middle, **recipe.parameters}, own, method.per_expert)
    method.check(parameters, 2 if method.pairs_with_base(len(chosen)) else len(chosen))
    weights = {str(recipe.options(expert.id).weight) for expert in chosen}
    if not method.weighted and (len(weights) > 1 or any(name.startswith("weight.") for name in search.space)):
        raise UsageError(f"method {method.name} takes no weights", hint="leave them out, or choose another method")


def calibration_of(inputs: Inputs, id: str, digest: str, reporter: Reporter = SILENT) -> list[str]:
    """Texts of an expert's field: its samples, or what it writes itself.

    :param digest: of the base's tokenizer.
    """
    expert = inputs.host.expert(id)

    def writer() -> Writer:
        tokenizer, own = tokenizer_of(inputs, id, digest)
        return writer_of(inputs.host, expert, inputs.experts[id], tokenizer, own)

    return texts_of(expert, writer, reporter)


Grams = Mapping[str, Mapping[str, Any]]
