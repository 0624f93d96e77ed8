"""The plan of a route: who takes part, and what building and measuring it costs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cogen.evals import BoundSuite, general_suites, suites_of
from cogen.evals.matrix import BASE
from cogen.fusion.costs import matrix_tokens, planned_suites
from cogen.fusion.details import EmbedderPin, RouteDetails
from cogen.fusion.embedders import choose_embedder, embedder_notes
from cogen.fusion.plan import Cost, Note, PlanBase
from cogen.fusion.recipe import EnsembleKind, FuseRecipe
from cogen.fusion.review import reviewed
from cogen.fusion.route.baselines import can_ensemble, check_ensemble
from cogen.fusion.route.manifest import EmbedderRef
from cogen.fusion.route.members import Member, open_members
from cogen.fusion.route.validate import choose, shared_base
from cogen.fusion.routing_data import Needs, data_notes, extra_tokens
from cogen.fusion.selection import planned_expert, unmeasured, warnings
from cogen.host import Expert, Host
from cogen.reporter import SILENT, Reporter
from cogen.routing.embedder import Embedder


class RoutePlan(PlanBase):
    """The plan of a route: no weights are made, so it has no method and no base of a model."""

    details: RouteDetails


@dataclass(frozen=True)
class RouteInputs:
    """What a plan talks about, opened: ``members`` are the base, if there is one, and the experts by id."""

    experts: list[Expert]
    embedder: Embedder
    members: Mapping[str, Member]
    suites: list[BoundSuite]

    @property
    def chooser(self) -> tuple[object, str]:
        """The tokenizer that counts documents' tokens, and its digest: the base's, or that of the first expert."""
        return chooser(self.members)


def chooser(members: Mapping[str, Member]) -> tuple[object, str]:
    """See :attr:`RouteInputs.chooser`."""
    first = members.get(BASE) or members[min(members)]
    return first.tokenizer, first.tokenizer_digest


def plan_route(host: Host, recipe: FuseRecipe, *, reporter: Reporter = SILENT) -> tuple[RoutePlan, RouteInputs]:
    """Check that the recipe is possible and say what will be done. Manifests, headers and tokenizers are read.

    :raises UsageError, CompatibilityError: see :func:`~cogen.fusion.route.validate.choose`; or a plugin's veto.
    """
    chosen = choose(host, recipe)
    fallback = shared_base(chosen)
    embedder = choose_embedder(recipe, chosen, reporter)
    reference = EmbedderRef.of(embedder, reporter)
    members = open_members(host, chosen, fallback, reporter)
    suites = [bound for expert in chosen for bound in suites_of(expert)] + general_suites()
    inputs = RouteInputs(chosen, reference.open(reporter), members, suites)
    planned = planned_suites(suites, recipe, inputs.chooser[0])
    ensemble = _ensemble(recipe, members)
    # An ensemble runs every model on every text, so there is nothing to leave out.
    recipe = recipe.model_copy(update={"matrix": "full"}) if ensemble != "none" else recipe
    rows = [None if id == BASE else {id} for id in members]
    needs: Needs = [("embedding", reference.source)]
    bits = sum(suite.test_tokens for suite in planned if suite.metric == "bits_per_byte")
    plan = RoutePlan(
        cogen=importlib.metadata.version("cogen-core"),
        strategy="route",
        why="the experts stay separate, and a query goes to one of them",
        experts=tuple(planned_expert(expert, recipe) for expert in chosen),
        level=recipe.level,
        eval_dtype="float32" if recipe.level == "full" else "bfloat16",
        suites=planned,
        matrix=recipe.matrix,
        cost=Cost(
            search_tokens=0,
            matrix_tokens=matrix_tokens(rows, planned, recipe),
            output_bytes=0,
            scratch_bytes=0,
            memory_bytes=0,
            ensemble_tokens=len(members) * bits if ensemble != "none" else 0,
            parameters=sum(member.parameters for member in members.values()) // len(members),
            routing_tokens=extra_tokens(chosen, needs),
        ),
        notes=(
            *_notes(chosen),
            *embedder_notes(recipe, embedder, chosen),
            *unmeasured(chosen),
            *warnings(data_notes(chosen, needs)),
        ),
        details=RouteDetails(
            embedder=EmbedderPin(source=reference.source, digest=reference.digest),
            fallback=fallback,
            ensemble=ensemble != "none",
            ensemble_weights="posterior" if ensemble == "posterior" else "uniform",
        ),
    )
    return reviewed(host, plan), inputs


def _ensemble(recipe: FuseRecipe, members: Mapping[str, Member]) -> EnsembleKind:
    """Which one is measured.

    :raises CompatibilityError: the recipe asks for one of models with different tokenizers.
    """
    asked = recipe.ensemble
    if asked is not None and asked != "none":
        check_ensemble(members)
    if asked is None:
        asked = "uniform" if recipe.matrix == "full" and can_ensemble(members) else "none"
    # A posterior ensemble also answers, whether it is measured or not.
    return asked if recipe.level != "none" or asked == "posterior" else "none"


def _notes(chosen: Sequence[Expert]) -> tuple[Note, ...]:
    """What is fetched from several publishers stays under each one's license."""
    return tuple(
        Note(
            severity="warning", source="cogen", message=f"the license of {expert.id} is unknown: ask before you use it"
        )
        for expert in chosen
        if expert.spec.license == "unknown"
    )
