"""The registry of strategies: the only place that knows their names, and where one is chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cogen.errors import CogenError, PluginError, UsageError, failure
from cogen.fusion.strategy import Fit, Strategy
from cogen.host.builtin import STRATEGIES
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.fusion.plan import PlanBase
    from cogen.fusion.recipe import FuseRecipe
    from cogen.host import Expert, Host

#: In a recipe: the strategy that fits the experts and options best.
AUTO = "auto"


def load_strategy(host: Host, name: str, target: str) -> Strategy[Any, Any]:
    """Import what was registered under a name.

    :raises PluginError: it cannot be imported, or is not a strategy of this name.
    """
    strategy = host.resolve(target)
    if not isinstance(strategy, Strategy) or strategy.name != name:
        raise PluginError(
            target.partition(".")[0],
            f"{target} is not a cogen strategy named {name!r}",
            hint="register an object of a class that derives from cogen.fusion.strategy.Strategy",
        )
    return strategy


def all_strategies(host: Host, reporter: Reporter = SILENT) -> dict[str, Strategy[Any, Any]]:
    """By name, the built-in ones first; imports them. One that cannot be loaded is left out, with a note."""
    found = {}
    for name, target in host.strategies().items():
        try:
            found[name] = load_strategy(host, name, target)
        except CogenError as error:
            reporter.note(f"strategy {name} of a plugin is left out: {error.message}")
    return found


def find_strategy(host: Host, name: str) -> Strategy[Any, Any]:
    """One by its name; no other is imported.

    :raises UsageError: there is none of this name.
    :raises PluginError: a plugin registered it, and it cannot be loaded.
    """
    found = host.strategies()
    if name not in found:
        raise UsageError(
            f"unknown strategy {name!r}; one of {', '.join([*found, AUTO])}", hint="leave it out to have it chosen"
        )
    return load_strategy(host, name, found[name])


def strategy_of(plan: PlanBase, host: Host | None = None) -> Strategy[Any, Any]:
    """The strategy of a plan.

    :param host: knows the plugins' strategies; None: only the built-in ones.
    :raises UsageError: it is a plugin's that is not installed.
    """
    from cogen.host import Host as AnyHost

    return find_strategy(host or AnyHost(), plan.strategy)


@contextlib.contextmanager
def blamed(strategy: Strategy[Any, Any], method: str) -> Iterator[None]:
    """What a plugin's strategy raises in the block is the plugin's mistake, not a bug of cogen.

    :raises PluginError: in the place of everything that is neither a :class:`~cogen.errors.CogenError` nor an error of
        the operating system (a full disk, say).
    """
    package = type(strategy).__module__.partition(".")[0]
    try:
        yield
    except (CogenError, OSError, MemoryError):
        raise
    except Exception as error:
        if package == "cogen":
            raise
        raise PluginError(
            package,
            f"strategy {strategy.name} failed in {method}(): {failure(error)}",
            hint=f"report it to the authors of {package}",
        ) from error


def pick_strategy(
    host: Host, chosen: Sequence[Expert], recipe: FuseRecipe, reporter: Reporter = SILENT
) -> Strategy[Any, Any]:
    """The one that the recipe names, or the one that fits best; a plugin's whose ``fit()`` fails is left out.

    :raises UsageError: an unknown name, or nothing fits.
    """
    if recipe.strategy != AUTO:
        return find_strategy(host, recipe.strategy)
    every = list(all_strategies(host, reporter).values())
    fits = [_fit(strategy, host, chosen, recipe, reporter) for strategy in every]
    best = max(fits)
    if best == Fit.NO:
        raise UsageError("no strategy fits these experts", hint="name one with --strategy")
    return every[fits.index(best)]


def _fit(
    strategy: Strategy[Any, Any], host: Host, chosen: Sequence[Expert], recipe: FuseRecipe, reporter: Reporter
) -> Fit:
    if strategy.name in STRATEGIES:
        return strategy.fit(host, chosen, recipe)
    try:
        return Fit(strategy.fit(host, chosen, recipe))
    except Exception as error:  # noqa: BLE001 - whatever it is, the others can still be chosen
        reporter.note(f"strategy {strategy.name} of a plugin is left out: its fit() failed: {failure(error)}")
        return Fit.NO
