"""Building again what a saved plan or a lock says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.moe.routers import router_file
from cogen.fusion.plan import Plan, PlanBase, check_unmoved
from cogen.fusion.recipe import FuseRecipe, Level, MatrixKind
from cogen.fusion.strategies import strategy_of
from cogen.reporter import SILENT, Reporter
from cogen.runs.prepare import Prepared, prepare

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.host import Host


def recipe_of(
    plan: PlanBase,
    *,
    scale: float | None = None,
    parameters: Mapping[str, float] | None = None,
    level: Level | None = None,
    matrix: MatrixKind | None = None,
    host: Host | None = None,
) -> FuseRecipe:
    """The recipe that gives ``plan`` again, so that a saved one can be compared with what is installed.

    :param scale: that of a lock. The recipe is then one of the locked composite: nothing is left to search.
    :param parameters: what the lock has beside the scale.
    :param level, matrix: of the measurement, in the place of the plan's.
    :param host: knows the strategies of plugins; None: only the built-in ones.
    """
    settings = None if scale is None else ChosenSettings(scale, dict(parameters or {}))
    recipe = strategy_of(plan, host).recipe(plan, settings, level)
    # A plugin's strategy need not know of the matrix.
    return recipe.model_copy(update={"matrix": matrix or plan.matrix})


def prepare_plan(host: Host, saved: Plan, what: str, *, reporter: Reporter = SILENT) -> Prepared:
    """A saved plan, ready to be carried out.

    :param what: what it is called where it no longer holds.
    :raises PlanError: something that it refers to has moved.
    """
    now = prepare(host, recipe_of(saved, host=host), reporter=reporter)
    check_unmoved(saved, now.plan, what)
    return replace(now, plan=saved)


def prepare_replay(
    host: Host,
    lock: Lock,
    what: str,
    *,
    level: Level | None = None,
    matrix: MatrixKind | None = None,
    reporter: Reporter = SILENT,
) -> Prepared:
    """The plan of a lock, ready to be carried out with ``execute(…, replay=lock)``.

    :param level, matrix: of the measurement, in the place of the lock's.
    :raises PlanError: something that it refers to has moved.
    """
    how: dict[str, Any] = {"level": level, "matrix": matrix}
    recipe = recipe_of(lock.plan, scale=lock.scale, parameters=lock.parameters, host=host, **how)
    now = prepare(host, recipe, reporter=reporter)
    check_unmoved(lock.plan, now.plan, what)
    measured = {name: getattr(now.plan, name) for name in ("level", "matrix", "eval_dtype", "suites", "cost")}
    return replace(now, plan=lock.plan.model_copy(update=measured))


def routers_beside(lock: Path) -> Path | None:
    """The file of router rows that lies beside a lock: with it a replay on another machine has the same bits."""
    return router_file(lock if lock.is_dir() else lock.parent)
