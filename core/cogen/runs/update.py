"""A composite with one expert more or less: what can be kept of it, and what has to be made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.artifacts.lock import LOCK_NAME, Lock, read_lock, verify
from cogen.errors import PlanError, UsageError
from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.moe.write import Reuse
from cogen.fusion.plan import Plan
from cogen.fusion.recipe import FuseRecipe, Level
from cogen.fusion.strategies import strategy_of

if TYPE_CHECKING:
    from cogen.host import Host


def updated_recipe(
    composite: Path, add: Sequence[str], remove: Sequence[str], level: Level | None = None, *, host: Host | None = None
) -> tuple[Lock, FuseRecipe]:
    """The lock of ``composite``, and the recipe of the composite with other experts.

    :param host: knows the strategies of plugins; None: only the built-in ones.
    :raises UsageError: an expert that is there already, one that isn't, or nobody left.
    :raises PlanError: the files are not the lock's any more.
    """
    if composite.name == LOCK_NAME and composite.is_file():
        composite = composite.parent
    if not (composite / LOCK_NAME).is_file():
        raise UsageError(f"{composite} has no {LOCK_NAME}", hint="name a folder that `cogen fuse` wrote")
    lock = read_lock(composite)
    strategy = strategy_of(lock.plan, host)
    before = strategy.recipe_to_update(lock.plan, ChosenSettings(lock.scale, dict(lock.parameters)), level)
    present = {expert.id for expert in lock.plan.experts}
    for id in remove:
        if id not in present:
            raise UsageError(f"{id} is not in {composite}", hint=f"its experts: {', '.join(sorted(present))}")
    for id in add:
        if id in present:
            raise UsageError(f"{id} is in {composite} already", hint=f"its experts: {', '.join(sorted(present))}")
    experts = {id: own for id, own in before.experts.items() if id not in remove} | dict.fromkeys(add, 1.0)
    if not experts:
        raise UsageError("cannot remove the last expert", hint="without experts the composite is just the base model")
    gone = {f"weight.{id}" for id in remove}
    space = {name: bounds for name, bounds in before.space.items() if name not in gone}
    recipe = before.model_copy(update={"experts": experts, "space": space})
    if not add:
        recipe = strategy.shrunk(lock.plan, recipe)
    if recipe.top_k is not None:
        recipe = recipe.model_copy(update={"top_k": min(recipe.top_k, len(experts) + recipe.public)})
    if wrong := verify(lock, composite):
        raise PlanError(f"{composite / wrong[0]} differs from its lock", hint="build the composite again")
    return lock, recipe


def reusable_parts(lock: Lock, plan: Plan, composite: Path, *, host: Host | None = None) -> tuple[Reuse | None, str]:
    """What ``plan`` can take from ``composite`` as it is, and in words what is rebuilt and why.

    :param lock: that of ``composite``.
    """
    return strategy_of(plan, host).reusable(lock.plan, plan, composite)
