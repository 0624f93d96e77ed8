"""From a recipe to everything that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.selection import chosen_experts
from cogen.fusion.strategies import blamed, pick_strategy
from cogen.fusion.strategy import Strategy
from cogen.host import Host
from cogen.reporter import SILENT, Reporter


@dataclass(frozen=True)
class Prepared:
    """A plan that can be carried out.

    :param plan: a :class:`~cogen.fusion.plan.Plan`, or the strategy's own kind of :class:`~cogen.fusion.plan.PlanBase`.
    :param inputs: the strategy's own: what the plan refers to, opened.
    """

    host: Host
    strategy: Strategy[Any, Any]
    plan: Any
    inputs: Any


def prepare(host: Host, recipe: FuseRecipe, *, reporter: Reporter = SILENT) -> Prepared:
    """Choose the strategy and plan; nothing is built. Manifests, headers and tokenizers are read, no weights.

    :raises UsageError: no expert, an unknown one, an unknown strategy, or an option that is wrong.
    :raises CompatibilityError: experts that do not go together, or a license that forbids it.
    """
    strategy = pick_strategy(host, chosen_experts(host, recipe), recipe, reporter)
    with blamed(strategy, "plan"):
        plan, inputs = strategy.plan(host, recipe, reporter)
    return Prepared(host, strategy, plan, inputs)
