"""What building a route takes, said before it is done."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cogen.checkpoints.sources import Talk, silent
from cogen.evals import BoundSuite, general_suites, suites_of
from cogen.evals.matrix import BASE
from cogen.fusion.costs import planned_suites
from cogen.fusion.plan import Note, PlannedSuite
from cogen.fusion.recipe import FuseRecipe, Level
from cogen.fusion.review import reviewed
from cogen.fusion.route.baselines import can_ensemble
from cogen.fusion.route.manifest import EmbedderRef, RouteExpert
from cogen.fusion.route.members import Member, open_members
from cogen.fusion.route.validate import choose, shared_base
from cogen.host import Expert, Host
from cogen.routing.embedder import Embedder
from cogen.spec.base import Frozen
from cogen.spec.model import BaseRef, Dtype


class RouteCost(Frozen):
    """Tokens through a model: the rows of base and experts, and the ensemble, which runs all of them once more."""

    matrix_tokens: int
    ensemble_tokens: int

    @property
    def forward_tokens(self) -> int:
        return self.matrix_tokens + self.ensemble_tokens


class RoutePlan(Frozen):
    """``ensemble``: do all models share one tokenizer, so that their predictions can be averaged?"""

    version: Literal[1] = 1
    cogen: str
    strategy: Literal["route"] = "route"
    embedder: EmbedderRef
    fallback: BaseRef | None
    experts: tuple[RouteExpert, ...]
    level: Level
    eval_dtype: Dtype
    suites: tuple[PlannedSuite, ...]
    ensemble: bool
    cost: RouteCost
    notes: tuple[Note, ...] = ()

    def _repr_html_(self) -> str:
        """For notebooks: experts, fallback and cost."""
        from cogen.display import table

        rows = [(e.id, e.license, f"{e.distribution} {e.version}") for e in self.experts]
        rest = f"fallback: {self.fallback.name}" if self.fallback else "no fallback: the experts share no base"
        lines = (rest, f"{self.cost.forward_tokens:,} forward tokens; no weights are written")
        notes = tuple(f"{note.source}: {note.message}" for note in self.notes)
        return table(f"route by {self.embedder.source}", ("expert", "license", "distribution"), rows, lines + notes)


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


def plan_route(host: Host, recipe: FuseRecipe, *, talk: Talk = silent) -> tuple[RoutePlan, RouteInputs]:
    """Check that the wishes are possible and say what will be done. Manifests, headers and tokenizers are read.

    :raises UsageError, CompatibilityError: see :func:`~cogen.fusion.route.validate.choose`; or a plugin's veto.
    """
    chosen = choose(host, recipe)
    fallback = shared_base(chosen)
    own = {"source": recipe.embedder} if recipe.embedder else {}
    reference = EmbedderRef.of(Embedder(digest=recipe.embedder_digest, talk=talk, **own), talk)
    members = open_members(host, chosen, fallback, talk)
    suites = [bound for expert in chosen for bound in suites_of(expert)] + general_suites()
    inputs = RouteInputs(chosen, reference.open(talk), members, suites)
    planned = planned_suites(suites, recipe, inputs.chooser[0])
    ensemble = recipe.level != "none" and can_ensemble(members)
    bits = sum(suite.test_tokens for suite in planned if suite.metric == "bits_per_byte")
    plan = RoutePlan(
        cogen=importlib.metadata.version("cogen-core"),
        embedder=reference,
        fallback=fallback,
        experts=tuple(map(RouteExpert.of, chosen)),
        level=recipe.level,
        eval_dtype="float32" if recipe.level == "full" else "bfloat16",
        suites=planned,
        ensemble=ensemble,
        cost=RouteCost(
            matrix_tokens=len(members) * sum(suite.test_tokens for suite in planned),
            ensemble_tokens=len(members) * bits if ensemble else 0,
        ),
        notes=_notes(chosen),
    )
    return reviewed(host, plan), inputs


def _notes(chosen: Sequence[Expert]) -> tuple[Note, ...]:
    """What is fetched from several publishers stays under each one's licence."""
    return tuple(
        Note(
            severity="warning", source="cogen", message=f"the licence of {expert.id} is unknown: ask before you use it"
        )
        for expert in chosen
        if expert.spec.license == "unknown"
    )
