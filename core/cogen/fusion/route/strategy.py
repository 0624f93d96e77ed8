"""The strategy ``route``: experts stay separate, and every query goes to one of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.fusion.recipe import FuseRecipe, Level
from cogen.fusion.results import Table
from cogen.fusion.route.card import write_card
from cogen.fusion.route.centroids import make_centroids, write_centroids
from cogen.fusion.route.manifest import EmbedderRef, RouteExpert, RouteManifest, write_route
from cogen.fusion.route.measure import Routed, measure_route, routed_json, routed_table
from cogen.fusion.route.plan import RouteInputs, RoutePlan, plan_route
from cogen.fusion.route.router import Router
from cogen.fusion.strategy import Built, Description, Measurement, Run, Strategy
from cogen.host import Host
from cogen.reporter import Reporter

if TYPE_CHECKING:
    from cogen.fusion.merge.search import ChosenSettings

MATRIX = "matrix.json"
TOGETHER = (
    "questions are answered by all experts at once, each weighted by its likelihood of the text before "
    "(all of them are in memory)"
)


@dataclass(frozen=True)
class RouteResult:
    """``routed`` is None at the level none."""

    manifest: RouteManifest
    routed: Routed | None


class RouteStrategy(Strategy[RoutePlan, RouteInputs]):
    """See the module."""

    name = "route"
    title = "experts kept apart; each query goes to one of them"
    writes_model = False
    options = frozenset({"ensemble"})

    def plan(self, host: Host, recipe: FuseRecipe, reporter: Reporter) -> tuple[RoutePlan, RouteInputs]:
        return plan_route(host, recipe, reporter=reporter)

    def build(self, run: Run[RoutePlan, RouteInputs]) -> Built:
        """Write route.json and the centroids; a router on them is the state."""
        plan, details = run.plan, run.plan.details
        run.reporter.describe("embedding samples")
        newer: dict[str, Any] = {"version": 2, "ensemble": "posterior"} if answers_together(plan) else {}
        centroids = make_centroids(run.inputs.experts, run.inputs.embedder, run.inputs.members, run.reporter)
        manifest = RouteManifest(
            cogen=plan.cogen,
            embedder=EmbedderRef(source=details.embedder.source, digest=details.embedder.digest),
            fallback=details.fallback,
            experts=tuple(map(RouteExpert.planned, plan.experts)),
            centroids=write_centroids(centroids, run.folder),
            **newer,
        )
        write_route(manifest, run.folder)
        run.lap("embedding")
        return Built(state=(manifest, Router(run.inputs.embedder, centroids, fallback=details.fallback is not None)))

    def measure(self, run: Run[RoutePlan, RouteInputs], built: Built) -> Measurement:
        """The matrix, and as details a :class:`RouteResult`; the folder gets both, and its card."""
        manifest, router = built.state
        matrix, routed = None, None
        if run.plan.level != "none" and run.plan.suites:
            matrix, routed = measure_route(run.plan, run.inputs, router, run.reporter)
            (run.folder / MATRIX).write_text(json.dumps(matrix.to_json()) + "\n", encoding="utf-8")
        write_card(run.folder, manifest, matrix, routed, run.inputs.experts, run.plan.suites)
        run.lap("measure")
        return Measurement(matrix, RouteResult(manifest, routed))

    def describe(self, plan: RoutePlan, settings: ChosenSettings | None = None, trials: int = 0) -> Description:
        details = plan.details
        fallback = details.fallback
        rest = f"the rest to {fallback.name}" if fallback else "no base for the rest: they do not share one"
        summary = f"by sentence embedding ({details.embedder.source}); {rest}"
        together = [TOGETHER] if answers_together(plan) else []
        data: dict[str, Any] = {
            "experts": [expert.id for expert in plan.experts],
            "fallback": fallback.name if fallback else None,
        }
        return Description(
            kind="route",
            how="sentence embedding",
            tag="embedding",
            architecture="",
            summary=summary,
            origin="that stay separate",
            lineage="nothing is derived from the experts",
            made=f"Strategy {plan.strategy}: {summary}",
            intro="The experts stay separate; every query goes to one of them.",
            built=("router", "no weights"),
            use="it is not a checkpoint; ask its experts",
            lines=(summary, *together, "no weights are written, and every expert stays under its own license"),
            data=data,
        )

    def tables(self, details: RouteResult) -> tuple[Table, ...]:
        return () if details.routed is None else (routed_table(details.routed),)

    def data(self, details: RouteResult) -> dict[str, Any]:
        found = {"manifest": details.manifest.model_dump(mode="json")}
        return found if details.routed is None else found | routed_json(details.routed)

    def recipe(self, plan: RoutePlan, settings: ChosenSettings | None = None, level: Level | None = None) -> FuseRecipe:
        embedder = plan.details.embedder
        return FuseRecipe(
            experts={expert.id: 1.0 for expert in plan.experts},
            strategy=plan.strategy,
            level=level or plan.level,
            matrix=plan.matrix,
            embedder=embedder.source,
            embedder_digest=embedder.digest,
            ensemble=plan.details.ensemble_weights if plan.details.ensemble else "none",
        )


def answers_together(plan: RoutePlan) -> bool:
    """Is a question answered by all experts at once, in place of one?"""
    return plan.details.ensemble and plan.details.ensemble_weights == "posterior"


ROUTE = RouteStrategy()
