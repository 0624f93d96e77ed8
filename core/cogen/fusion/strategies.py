"""The registry of strategies: the only place that knows their names, and where one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogen.errors import PluginError, UsageError
from cogen.fusion.strategy import Fit, Strategy

if TYPE_CHECKING:
    from cogen.fusion.plan import PlanBase
    from cogen.fusion.recipe import FuseRecipe
    from cogen.host import Expert, Host

#: In a recipe: the strategy that fits the experts and options best.
AUTO = "auto"


def all_strategies(host: Host) -> dict[str, Strategy[Any, Any]]:
    """By name, the built-in ones first; imports them.

    :raises PluginError: what a plugin registered is none.
    """
    found = {}
    for name, target in host.strategies().items():
        strategy = host.resolve(target)
        if not isinstance(strategy, Strategy) or strategy.name != name:
            raise PluginError(target.partition(".")[0], f"{target} is not a cogen strategy named {name!r}")
        found[name] = strategy
    return found


def find_strategy(host: Host, name: str) -> Strategy[Any, Any]:
    """
    :raises UsageError: there is none of this name.
    """
    found = all_strategies(host)
    if name not in found:
        raise UsageError(
            f"unknown strategy {name!r}; one of {', '.join([*found, AUTO])}", hint="leave it out to have it chosen"
        )
    return found[name]


def strategy_of(plan: PlanBase, host: Host | None = None) -> Strategy[Any, Any]:
    """The strategy of a plan.

    :param host: knows the plugins' strategies; None: only the built-in ones.
    :raises UsageError: it is a plugin's that is not installed.
    """
    from cogen.host import Host as AnyHost

    return find_strategy(host or AnyHost(), plan.strategy)


def pick_strategy(host: Host, chosen: Sequence[Expert], recipe: FuseRecipe) -> Strategy[Any, Any]:
    """The one that the recipe names, or the one that fits best.

    :raises UsageError: an unknown name, or nothing fits.
    """
    if recipe.strategy != AUTO:
        return find_strategy(host, recipe.strategy)
    every = list(all_strategies(host).values())
    fits = [strategy.fit(host, chosen, recipe) for strategy in every]
    best = max(fits)
    if best == Fit.NO:
        raise UsageError("no strategy fits these experts", hint="name one with --strategy")
    return every[fits.index(best)]
