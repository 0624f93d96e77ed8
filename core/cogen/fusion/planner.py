"""From a recipe and installed experts to a plan: whatever is impossible is refused here, before any weight is read."""

from __future__ import annotations

from typing import Any

from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.selection import chosen_experts
from cogen.fusion.strategies import pick_strategy
from cogen.host import Host
from cogen.reporter import SILENT, Reporter


def make_plan(host: Host, recipe: FuseRecipe, *, reporter: Reporter = SILENT) -> tuple[Any, Any]:
    """The plan of the recipe's strategy, and what it refers to, opened; manifests, headers and tokenizers are read.

    :returns: of a merge, mixture of experts or distillation a :class:`~cogen.fusion.plan.Plan`, of a route a
        :class:`~cogen.fusion.route.plan.RoutePlan`; each with its own inputs.
    :raises UsageError: no expert, an unknown one, or an option that is wrong.
    :raises CompatibilityError: experts that do not go together, or a license that forbids it.
    """
    return pick_strategy(host, chosen_experts(host, recipe), recipe).plan(host, recipe, reporter)
