"""The strategy ``moe``: a sparse mixture of experts, whose feed-forward blocks stand side by side behind routers."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.evals.matrix import EMPTY
from cogen.fusion.build import build, evaluation_of
from cogen.fusion.compatible import DENSE, check_licenses, one_lineage
from cogen.fusion.costs import planned_cost, planned_suites
from cogen.fusion.details import MoeDetails
from cogen.fusion.embedders import embedder_notes
from cogen.fusion.merge.inputs import Inputs, check_searchable, open_inputs
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.merge.measure import measure_matrix
from cogen.fusion.merge.outputs import MergeJob
from cogen.fusion.merge.plan import lineage_plan
from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.merge.shapes import changed_names
from cogen.fusion.merge.strategy import OPTIONS as MERGE_OPTIONS
from cogen.fusion.merge.strategy import lineage_of, lineage_options, rescaled
from cogen.fusion.merge.tokenizer_text import tokenizer_text
from cogen.fusion.moe.insight import Insight, mean_weights, measure_insight
from cogen.fusion.moe.mixture import (
    averaged,
    default_note,
    engine_notes,
    evidence_notes,
    extents_of,
    mixture_cost,
    plan_mixture,
    routing_notes,
    why,
)
from cogen.fusion.moe.prefix.outputs import write_prefix_mixture
from cogen.fusion.moe.prefix.rows import prefix_rows
from cogen.fusion.moe.reuse import reusable_parts
from cogen.fusion.moe.routers import ROUTER, read_rows, untrained_rows, write_rows
from cogen.fusion.moe.train_routers import trained_rows
from cogen.fusion.moe.validate import FROZEN, check_moe, with_rows
from cogen.fusion.moe.write import Reuse, write_mixture
from cogen.fusion.plan import Plan
from cogen.fusion.recipe import ExpertOptions, FuseRecipe, Level
from cogen.fusion.results import Table, matrix_json
from cogen.fusion.selection import chosen_experts
from cogen.fusion.strategy import Built, Description, Fit, Known, Measurement, Run, Strategy, requested
from cogen.host import Expert, Host
from cogen.reporter import Reporter
from cogen.routing.embedder import Embedder

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.fusion.build import Rows

#: How the routers are made, in half a sentence.
ROUTING = {
    "prefix": "that read the mean evidence of the tokens before, from token frequencies, without training",
    "hidden": "from the base's states on the experts' samples, without training",
    "embedding": "from sentence embeddings of the experts' samples, without training",
    "anchored": "as each expert's publisher trained them beside the frozen base",
    "trained": "trained for this set of experts on their samples, everything else frozen",
}


class MoeStrategy(Strategy[Plan, Inputs]):
    """See the module."""

    name = "moe"
    title = "a sparse mixture of experts behind routers"
    options = frozenset({"routing", "top_k", "public", "public_expert"})

    def fit(self, host: Host, chosen: Sequence[Expert], recipe: FuseRecipe) -> Fit:
        """Natural for several experts of one base that all ship a router row which was trained for it."""
        if super().fit(host, chosen, recipe) is Fit.REQUESTED:
            return Fit.REQUESTED
        anchored = len(chosen) > 1 and all(expert.spec.model.relation == "anchored" for expert in chosen)
        one = len({expert.spec.model.lineage for expert in chosen}) == 1
        dense = all(expert.spec.model.architecture in DENSE for expert in chosen)
        return Fit.NATURAL if anchored and one and dense and not requested(recipe) & MERGE_OPTIONS else Fit.NO

    def plan(self, host: Host, recipe: FuseRecipe, reporter: Reporter) -> tuple[Plan, Inputs]:
        chosen, left = with_rows(chosen_experts(host, recipe), recipe)
        base = one_lineage(chosen)
        check_licenses(chosen)
        check_moe(chosen, recipe)
        recipe = averaged(recipe, chosen, functools.partial(find_method, host))
        opened = open_inputs(host, recipe, chosen, base, united=False, reporter=reporter)
        inputs = opened.inputs
        details = plan_mixture(inputs.base, inputs.tokenizer, inputs.experts, chosen, recipe)
        check_searchable(opened.search, inputs.suites)
        suites = planned_suites(inputs.suites, recipe, inputs.tokenizer)
        found = extents_of(inputs.base, details)
        changed = changed_names(inputs.base, inputs.experts.values(), opened.vocabulary)
        cost = planned_cost(found, changed, chosen, suites, opened.search, recipe, inputs.base)
        plan = lineage_plan(
            opened,
            suites,
            details,
            why=why(details, chosen),
            cost=mixture_cost(cost, details, chosen, suites, inputs.tokenizer, recipe.matrix),
            tensors=len(found),
            changed_tensors=details.merged,
            remarks=[
                *left,
                *default_note(inputs.base, details, chosen, recipe),
                *routing_notes(details, chosen),
                *evidence_notes(inputs.base, details),
                *engine_notes(details),
            ],
        )
        if details.embedder:
            notes = embedder_notes(recipe, Embedder(*details.embedder, reporter=reporter), chosen)
            plan = plan.model_copy(update={"notes": (*plan.notes, *notes)})
        return plan, inputs

    def models(self, inputs: Inputs) -> Mapping[str, Checkpoint]:
        return inputs.models

    def build(self, run: Run[Plan, Inputs]) -> Built:
        plan, given = run.plan, run.given
        steps = _Steps(
            details_of(plan), plan.scales[0], plan.inputs_digest, run.inputs.tokenizer, plan.tokenizer_digest
        )
        made = build(plan, run.inputs, steps, run.folder, given=given, reporter=run.reporter, lap=run.lap)
        run.lap("assembly")
        hint = f"routers are made on this machine's arithmetic: put the composite's {ROUTER} beside its lock"
        return Built(made.settings, made.trials, Built().hint if given.routers else hint)

    def measure(self, run: Run[Plan, Inputs], built: Built) -> Measurement:
        if run.plan.level == "none" or not run.plan.suites:
            run.lap("measure")
            return Measurement()
        evaluation = evaluation_of(run.plan, run.inputs)
        matrix = measure_matrix(evaluation, run.folder, run.reporter)
        run.lap("measure")
        insight = measure_insight(details_of(run.plan).slots, evaluation, run.folder, run.reporter)
        run.lap("insight")
        return Measurement(matrix, insight)

    # ---- words ------------------------------------------------------------------------------------

    def describe(self, plan: Plan, settings: ChosenSettings | None = None, trials: int = 0) -> Description:
        found = details_of(plan)
        own = " (the base's own feed-forward blocks are one)" if found.public else ""
        own = " (one is the mean of the others)" if found.prefix and found.prefix.public == "mean" else own
        summary = (
            f"{len(found.slots)} experts{own}, {found.top_k} on a token; {found.parameters / 1e6:,.0f} million "
            f"parameters, {found.active / 1e6:,.0f} million active; routers {ROUTING[found.routing]}"
        )
        merged = f"; the {found.merged} other tensors that experts changed: {plan.method}" if found.merged else ""
        lines = [summary]
        if found.merged:
            lines.append(f"{found.merged} tensors outside feed-forward blocks are merged by {plan.method}")
        if not found.exact:
            lines.append("taking an expert out later rebuilds the mixture of experts")
        lines.append(tokenizer_text(plan))
        return Description(
            kind="mixture of experts",
            how=f"routing {found.routing}",
            tag=found.routing,
            architecture=found.architecture,
            summary=summary,
            origin=f"that descend from {plan.base.name}",
            lineage=lineage_of(plan),
            made=f"Strategy {plan.strategy}, {found.architecture}: {summary}{merged}; {tokenizer_text(plan)}",
            replay=f"with `{ROUTER}` beside the lock",
            change="which leaves the bits of a build without it" if found.exact else "which rebuilds it",
            intro="CoGen stacked them into a mixture of experts on the model that all of them descend from, "
            f"{plan.base.name}; their training data were not needed for it. It has {summary}.",
            built=(found.architecture, f"{len(found.slots)} experts, {plan.license}"),
            facts=(
                ("Architecture", found.architecture),
                ("Experts", f"{len(found.slots)}, of which {found.top_k} work on a token"),
                (
                    "Parameters",
                    f"{found.parameters / 1e6:,.0f} million, {found.active / 1e6:,.0f} million active on a token",
                ),
                ("Routers", ROUTING[found.routing]),
                ("Taking an expert out", "exact: the bits of a build without it" if found.exact else "builds anew"),
            ),
            lines=tuple(lines),
            data={"mixture": found.model_dump(mode="json", exclude={"strategy"}) | {"bytes": plan.cost.output_bytes}},
        )

    def tables(self, details: Insight | None) -> tuple[Table, ...]:
        if details is None:
            return ()
        usage = [
            {"text": used.column}
            | {id: f"{share:.0%}" for id, share in zip(details.slots, mean_weights(used), strict=True)}
            for used in details.usage
        ]
        tables = [Table("expert usage: share of each expert in the output, mean over layers", usage)]
        if details.contributions is not None:
            gains, columns = details.contributions.gains("composite"), details.contributions.columns
            losses = [
                {"": row}
                | {c: EMPTY if (gain := found.get(c)) is None else f"{-100 * gain.gain:+.1f} %" for c in columns}
                for row, found in gains.items()
            ]
            tables.append(Table("ablation: change of bits per byte when an expert is left out, level quick", losses))
        return tuple(tables)

    def data(self, details: Insight | None) -> dict[str, Any]:
        if details is None:
            return {}
        usage = [vars(used) for used in details.usage]
        ablation = None if details.contributions is None else matrix_json(details.contributions)
        return {
            "expert_usage": {"experts": details.slots, "texts": usage},
            "ablation": ablation,
            "insight": {"slots": details.slots, "usage": usage, "contributions": ablation},  # the former name of both
        }

    # ---- recipes ----------------------------------------------------------------------------------

    def recipe(self, plan: Plan, settings: ChosenSettings | None = None, level: Level | None = None) -> FuseRecipe:
        found = details_of(plan)
        embedder, digest = found.embedder or (None, None)
        return FuseRecipe.model_validate(
            lineage_options(plan, {} if settings is None else dict(settings.parameters))
            | {
                "strategy": plan.strategy,
                "method": plan.method,
                "scale": plan.scales[0],
                "parameters": plan.parameters,
                "level": level or plan.level,
                "matrix": plan.matrix,
                "routing": found.routing,
                "top_k": found.top_k,
                "public": found.public,
                "public_expert": found.prefix.public if found.prefix else None,
                "embedder": embedder,
                "embedder_digest": digest or None,
            }
        )

    def recipe_to_update(self, plan: Plan, settings: ChosenSettings, level: Level | None = None) -> FuseRecipe:
        recipe = rescaled(plan, self.recipe(plan, level=level))
        numbers = [expert.weight for expert in plan.experts if isinstance(expert.weight, int | float)]
        changes: dict[str, object] = {}
        if len(numbers) == len(plan.experts) and plan.scales == (1.0 / math.fsum(numbers),):
            changes["scale"] = None
        if len(details_of(plan).slots) == 1:
            changes["top_k"] = None  # nothing but one was possible
        return recipe.model_copy(update=changes)

    def group_recipe(self, experts: Mapping[str, ExpertOptions], level: Level) -> FuseRecipe:
        return FuseRecipe(experts=dict(experts), strategy=self.name, level="none")

    def shrunk(self, plan: Plan, recipe: FuseRecipe) -> FuseRecipe:
        left = {expert.relation for expert in plan.experts if expert.id in recipe.experts}
        if not left <= {*FROZEN}:
            return recipe
        # Nothing is left that a method could merge, or a weight weigh.
        plain = {"experts": dict.fromkeys(recipe.experts, 1.0), "method": "linear", "scale": None, "parameters": {}}
        return recipe.model_copy(update=plain)

    def reusable(self, old: Plan, new: Plan, composite: Path) -> tuple[Reuse | None, str]:
        return reusable_parts(old, new, composite)


class _Steps:
    """Routers and assembly; see :class:`cogen.fusion.build.Steps`.

    :param scale: of what is merged outside feed-forward blocks.
    :param key: digest of what decides the mixture, for the cache of trained routers.
    :param tokenizer: the base's; ``tokenizer_digest``: its digest.
    """

    def __init__(self, details: MoeDetails, scale: float, key: str, tokenizer: Any, tokenizer_digest: str) -> None:
        self._details, self._scale, self._tokenizer = details, scale, tokenizer
        self._key, self._tokenizer_digest = key, tokenizer_digest

    def routers(self, inputs: Inputs, job: MergeJob, given: Known, reporter: Reporter) -> Rows | None:
        """Those of a lock, or made anew but for what an earlier composite has."""
        if given.routers is not None:
            return read_rows(given.routers)
        known = given.reuse.rows if given.reuse else None
        if self._details.prefix is not None:
            return prefix_rows(self._details, inputs, self._tokenizer_digest, known, reporter)
        rows = untrained_rows(self._details, inputs, self._tokenizer_digest, known, reporter)
        if not self._details.tuned:
            return rows
        return trained_rows(
            self._details,
            inputs,
            job,
            self._scale,
            rows,
            key=self._key,
            tokenizer_digest=self._tokenizer_digest,
            reporter=reporter,
        )

    def write(self, job: MergeJob, settings: ChosenSettings, rows: Rows | None, folder: Path, given: Known) -> None:
        """The model, and the routers' rows beside it."""
        assert rows is not None  # routers() gives them
        if self._details.prefix is not None:
            tokenizer = self._tokenizer
            write_prefix_mixture(self._details, job, self._scale, tokenizer, rows, folder, reuse=given.reuse)
        else:
            write_mixture(self._details, job, self._scale, rows, folder, reuse=given.reuse)
        write_rows(rows, folder)


def details_of(plan: Plan) -> MoeDetails:
    """What a plan of this strategy has of its own."""
    assert isinstance(plan.details, MoeDetails)
    return plan.details


MOE = MoeStrategy()
