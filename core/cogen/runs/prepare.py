"""The first half of a run: what is to be built, checked and opened, with nothing built yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.fusion.plan import Plan
    from cogen.fusion.recipe import FuseRecipe
    from cogen.fusion.route.plan import RoutePlan
    from cogen.host import Host


@dataclass(frozen=True)
class Strategy:
    """The way in which experts become one composite."""

    name: str


@dataclass(frozen=True)
class Prepared:
    """A plan with its inputs opened: what :func:`~cogen.runs.execute.execute` carries out."""

    host: Host
    strategy: Strategy
    plan: Plan | RoutePlan
    inputs: Any


def prepare(host: Host, recipe: FuseRecipe, *, reporter: Reporter = SILENT) -> Prepared:
    """Choose the strategy, check that the recipe is possible on what is installed, and plan it.

    :raises UsageError: no expert, an unknown one, or an option that the strategy does not take.
    :raises CompatibilityError: the experts cannot be fused in this way.
    """
    from cogen.fusion.planner import make_plan, strategy_of

    name = strategy_of(host, recipe)
    plan: Any
    if name == "route":
        from cogen.fusion.route.plan import plan_route

        plan, inputs = plan_route(host, recipe, talk=reporter.note)
    elif name == "distill":
        from cogen.fusion.distill.plan import plan_distillation

        plan, inputs = plan_distillation(host, recipe, talk=reporter.note)
    else:
        plan, inputs = make_plan(host, recipe, talk=reporter.note)
    return Prepared(host, Strategy(name), plan, inputs)
