"""The strategy ``merge``: one dense model, merged weight by weight, as large as its base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.errors import UsageError
from cogen.fusion.build import build, evaluation_of
from cogen.fusion.compatible import DENSE, check_licenses, one_lineage, same_tensors
from cogen.fusion.costs import planned_cost, planned_suites
from cogen.fusion.details import Details, MergeDetails
from cogen.fusion.merge import choice
from cogen.fusion.merge.inputs import Inputs, check_searchable, open_inputs
from cogen.fusion.merge.measure import measure_matrix
from cogen.fusion.merge.outputs import MergeJob, write_composite
from cogen.fusion.merge.plan import lineage_plan
from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.merge.shapes import changed_names, extents
from cogen.fusion.merge.space import measurable
from cogen.fusion.merge.tokenizer_text import tokenizer_text
from cogen.fusion.plan import Plan
from cogen.fusion.recipe import TOTALS, ExpertOptions, FuseRecipe, Level
from cogen.fusion.routing_data import data_notes
from cogen.fusion.selection import chosen_experts
from cogen.fusion.strategy import Built, Description, Fit, Known, Measurement, Run, Strategy, requested
from cogen.host import Expert, Host
from cogen.merging.method import Method
from cogen.phrases import count
from cogen.reporter import Reporter

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.fusion.build import Rows

#: Options of a recipe about what stands beside the weights.
TOKENIZER_OPTIONS = ("tokenizer", "transplant", "chat_template", "generation_config")
#: Options of a recipe that the strategies which merge weights share, and those of strategy moe that a merge has not.
OPTIONS = frozenset({"method", "scale", "parameters", "search", "space", *TOKENIZER_OPTIONS})
_FOREIGN = {
    **dict.fromkeys(("routing", "top_k", "public", "public_expert", "embedder"), "moe"),
    "ensemble": "route",
}


class MergeStrategy(Strategy[Plan, Inputs]):
    """See the module."""

    name = "merge"
    title = "one dense model, merged weight by weight"
    scaled = True

    def fit(self, host: Host, chosen: Sequence[Expert], recipe: FuseRecipe) -> Fit:
        """It works for whatever nothing else is made for; what makes it impossible shows in the plan."""
        return Fit.POSSIBLE

    def details(self) -> Details:
        """What the plan has of its own; a plugin's strategy that derives from this one has other details."""
        return MergeDetails()

    def plan(self, host: Host, recipe: FuseRecipe, reporter: Reporter) -> tuple[Plan, Inputs]:
        chosen = chosen_experts(host, recipe)
        base = one_lineage(chosen)
        check_licenses(chosen)
        for name, owner in _FOREIGN.items():
            if name in requested(recipe):
                raise UsageError(
                    f"{name} is for strategy {owner}, not for a merge", hint=f"leave it out, or --strategy {owner}"
                )
        opened = open_inputs(host, recipe, chosen, base, united=True, reporter=reporter)
        inputs, vocabulary = opened.inputs, opened.vocabulary
        same_tensors(inputs.base, inputs.experts, vocabulary)
        check_searchable(opened.search, inputs.suites)
        suites = planned_suites(inputs.suites, recipe, inputs.tokenizer)
        found = extents(inputs.base, vocabulary)
        changed = changed_names(inputs.base, inputs.experts.values(), vocabulary)
        written = changed if vocabulary is None else list(found)
        plan = lineage_plan(
            opened,
            suites,
            self.details(),
            why=_why(chosen, recipe, opened.method),
            cost=planned_cost(found, written, chosen, suites, opened.search, recipe, inputs.base),
            tensors=len(found),
            changed_tensors=len(changed),
            remarks=[
                *(data_notes(chosen, [("text", "")]) if opened.method.calibrated else ()),
                *_unsearched(chosen, recipe, opened.search.scales),
            ],
        )
        return plan, inputs

    def models(self, inputs: Inputs) -> Mapping[str, Checkpoint]:
        return inputs.models

    def build(self, run: Run[Plan, Inputs]) -> Built:
        made = build(run.plan, run.inputs, self, run.folder, given=run.given, reporter=run.reporter, lap=run.lap)
        run.lap("merge")
        return Built(made.settings, made.trials)

    def measure(self, run: Run[Plan, Inputs], built: Built) -> Measurement:
        matrix = None
        if run.plan.level != "none" and run.plan.suites:
            matrix = measure_matrix(evaluation_of(run.plan, run.inputs), run.folder, run.reporter)
        run.lap("measure")
        return Measurement(matrix)

    # ---- steps of the build -----------------------------------------------------------------------

    def routers(self, inputs: Inputs, job: MergeJob, given: Known, reporter: Reporter) -> Rows | None:
        """A merge has none."""
        return None

    def write(self, job: MergeJob, settings: ChosenSettings, rows: Rows | None, folder: Path, given: Known) -> None:
        """See :class:`~cogen.fusion.build.Steps`."""
        write_composite(job, {"scale": settings.scale, **settings.parameters}, folder)

    # ---- words ------------------------------------------------------------------------------------

    def describe(self, plan: Plan, settings: ChosenSettings | None = None, trials: int = 0) -> Description:
        found = settings or ChosenSettings(plan.scales[0])
        lines = choice.planned(plan) if settings is None else [choice.settings(plan, found.scale, found.parameters)]
        summary = "; ".join(lines)
        searched = f", found among {trials} candidates on the dev splits" if trials else ""
        return Description(
            kind="merge",
            how=f"method {plan.method}",
            tag=plan.method,
            architecture=plan.architecture,
            summary=summary,
            origin=f"that descend from {plan.base.name}",
            lineage=lineage_of(plan),
            made=f"Strategy {plan.strategy}, method {plan.method} with {summary}{searched}; {tokenizer_text(plan)}",
            intro=f"CoGen combined their weights with the method {plan.method} ({summary}), starting from the model "
            f"that all of them descend from, {plan.base.name}; their training data were not needed for it.",
            built=(plan.method, f"scale {found.scale:g}, {plan.license}"),
            weighted=True,
            lines=(
                *lines,
                f"{plan.changed_tensors} of {plan.tensors} tensors are merged, the others copied",
                tokenizer_text(plan),
            ),
        )

    # ---- recipes ----------------------------------------------------------------------------------

    def recipe(self, plan: Plan, settings: ChosenSettings | None = None, level: Level | None = None) -> FuseRecipe:
        chosen = {} if settings is None else dict(settings.parameters)
        measured = {"level": level or plan.level, "matrix": plan.matrix}
        common = lineage_options(plan, chosen) | {"strategy": plan.strategy} | measured
        if settings is not None:
            # What a search among the experts ended in is their plain average.
            method = "linear" if choice.selects(plan) else plan.method
            given = {**plan.parameters, **chosen}
            return FuseRecipe.model_validate(common | {"method": method, "scale": settings.scale, "parameters": given})
        return FuseRecipe.model_validate(
            common
            | {
                "method": plan.method,
                "scale": plan.scales[0] if len(plan.scales) == 1 else plan.scales,
                "parameters": plan.parameters,
                "search": plan.search if plan.space else 0,  # without a space the method itself asks for it
                "space": plan.space,
            }
        )

    def recipe_to_update(self, plan: Plan, settings: ChosenSettings, level: Level | None = None) -> FuseRecipe:
        if plan.evaluations and level == "none":
            return self.recipe(plan, settings, level)
        return rescaled(plan, self.recipe(plan, level=level))

    def group_recipe(self, experts: Mapping[str, ExpertOptions], level: Level) -> FuseRecipe:
        # The scale is searched on the experts' dev splits; where nothing is to be measured it is that of their average.
        scale = 1 / len(experts) if level == "none" else None
        quick: Level = "none" if level == "none" else "quick"
        return FuseRecipe(experts=dict(experts), strategy=self.name, level=quick, scale=scale)


def lineage_options(plan: Plan, chosen: dict[str, float]) -> dict[str, object]:
    """Fields of a recipe: the experts with their weights, and the choice of the tokenizer.

    :param chosen: parameters of a lock; the weights among them are taken out.
    """
    experts = {
        expert.id: ExpertOptions(weight=chosen.pop(f"weight.{expert.id}", expert.weight), parameters=expert.parameters)
        for expert in plan.experts
    }
    return {"experts": experts} | {name: getattr(plan, name) for name in TOKENIZER_OPTIONS}


def rescaled(plan: Plan, recipe: FuseRecipe) -> FuseRecipe:
    """Without a scale that was only made for the number of experts."""
    weights = [expert.weight for expert in plan.experts]
    numbers = [weight for weight in weights if isinstance(weight, int | float)]
    if len(numbers) < len(weights):
        return recipe
    total = math.fsum(numbers)
    made = (TOTALS, tuple(float(f"{one / total:.3g}") for one in TOTALS))
    return recipe.model_copy(update={"scale": None}) if plan.scales in made else recipe


def lineage_of(plan: Plan) -> str:
    """From base to composite, as a sentence."""
    return (
        f"Lineage: {plan.base.name} → {count(plan.experts, 'expert')} → this model. All start from the same weights, "
        f"{plan.base.weights_digest}"
    )


def _unsearched(chosen: Sequence[Expert], recipe: FuseRecipe, scales: Sequence[float]) -> list[str]:
    """Why the scale is not searched for, where it would be."""
    if recipe.scale is not None or len(chosen) == 1 or len(scales) != 1 or recipe.search or measurable(chosen):
        return []
    return [f"no expert has a suite that can be run here, so the scale is not searched for: it is {scales[0]:g}"]


def _why(chosen: Sequence[Expert], recipe: FuseRecipe, method: Method) -> str:
    if method.pairs_with_base(len(chosen)):
        return f"one expert: {method.name} goes from its base to it"
    if len(chosen) == 1:
        return "one expert: it is scaled against its base"
    alike = "base, tokenizer and shape" if recipe.tokenizer is None else "base"
    stacks = recipe.tokenizer is None and all(expert.spec.model.architecture in DENSE for expert in chosen)
    other = "--strategy moe stacks them" if stacks else "--strategy route keeps them apart"
    return f"{len(chosen)} experts of one {alike}: they merge weight by weight ({other} instead)"


MERGE = MergeStrategy()
