"""A composite with one expert more or less: what can be kept of it, and what has to be made again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cogen.artifacts.lock import LOCK_NAME, Lock, read_lock, verify
from cogen.checkpoints.model import open_folder
from cogen.errors import PlanError, UsageError
from cogen.fusion.moe.routers import ROUTER, read_rows
from cogen.fusion.moe.validate import FROZEN
from cogen.fusion.moe.write import Reuse
from cogen.fusion.plan import Plan
from cogen.fusion.recipe import TOTALS, FuseRecipe, Level
from cogen.runs.fuse import recipe_of


def updated_recipe(
    composite: Path, add: Sequence[str], remove: Sequence[str], level: Level | None = None
) -> tuple[Lock, FuseRecipe]:
    """The lock of ``composite``, and the recipe of the composite with other experts.

    :raises UsageError: an expert that is there already, one that isn't, or nobody left.
    :raises PlanError: the files are not the lock's any more.
    """
    if not (composite / LOCK_NAME).is_file():
        raise UsageError(
            f"{composite} is no composite with a {LOCK_NAME}", hint="name a folder that `cogen fuse` wrote"
        )
    lock = read_lock(composite)
    before = _before(lock, level)
    present = {expert.id for expert in lock.plan.experts}
    for id in remove:
        if id not in present:
            raise UsageError(f"{id} is not in {composite}", hint=f"its experts: {', '.join(sorted(present))}")
    for id in add:
        if id in present:
            raise UsageError(f"{id} is in {composite} already", hint=f"its experts: {', '.join(sorted(present))}")
    experts = {id: wish for id, wish in before.experts.items() if id not in remove} | dict.fromkeys(add, 1.0)
    if not experts:
        raise UsageError("no expert would be left", hint="that is the base itself: take it from where it came from")
    gone = {f"weight.{id}" for id in remove}
    space = {name: bounds for name, bounds in before.space.items() if name not in gone}
    changes: dict[str, object] = {"experts": experts, "space": space}
    left = {expert.relation for expert in lock.plan.experts if expert.id in experts}
    if lock.plan.mixture is not None and not add and left <= {*FROZEN}:
        # Nothing is left that a method could merge, or a weight weigh.
        changes |= {"experts": dict.fromkeys(experts, 1.0), "method": "linear", "scale": None, "parameters": {}}
    if before.top_k is not None:
        changes["top_k"] = min(before.top_k, len(experts) + before.public)
    if wrong := verify(lock, composite):
        raise PlanError(f"{composite / wrong[0]} is not what its lock says", hint="build the composite again")
    return lock, before.model_copy(update=changes)


def _before(lock: Lock, level: Level | None) -> FuseRecipe:
    """The wishes that gave the composite, less those that were only made for its number of experts."""
    plan = lock.plan
    if plan.mixture is None and plan.evaluations and level == "none":
        return recipe_of(plan, scale=lock.scale, parameters=lock.parameters, level=level)
    before = recipe_of(plan, level=level)
    changes: dict[str, object] = {}
    weights = [expert.weight for expert in plan.experts]
    if all(isinstance(weight, int | float) for weight in weights):
        total = math.fsum(weights)  # type: ignore[arg-type]
        shares = tuple(float(f"{one / total:.3g}") for one in TOTALS)
        if plan.scales in (TOTALS, shares) or (plan.mixture is not None and plan.scales == (1.0 / total,)):
            changes["scale"] = None
    if plan.mixture is not None and len(plan.mixture.slots) == 1:
        changes["top_k"] = None  # nothing but one was possible
    return before.model_copy(update=changes)


def reusable_parts(lock: Lock, plan: Plan, composite: Path) -> tuple[Reuse | None, str]:
    """What ``plan`` can take from ``composite`` as it is, and in words what is made again and why."""
    old, new = lock.plan.mixture, plan.mixture
    ids = ", ".join(sorted(expert.id for expert in plan.experts))
    if old is None or new is None:
        kind = "a taught model" if lock.plan.strategy == "distill" else f"a {lock.plan.strategy}"
        return None, f"{kind} has no experts to take out or put in: it is rebuilt from {ids}"
    if not (old.exact and new.exact):
        reason = (
            "its routers were trained with all of its experts"
            if old.routing == "trained"
            else "experts share what is no feed-forward block"
        )
        return None, f"rebuilt from {ids}: {reason}"
    if (old.architecture, old.width, lock.plan.base) != (new.architecture, new.width, plan.base):
        return None, f"rebuilt from {ids}: base or widths are others"
    had = {expert.id: (expert.spec_digest, expert.file_digest, expert.weights_digest) for expert in lock.plan.experts}
    same = {e.id for e in plan.experts if had.get(e.id) == (e.spec_digest, e.file_digest, e.weights_digest)}
    kept = {id: slot for slot, id in enumerate(old.slots) if id in same or id == "base"}
    rows = {id: row for id, row in read_rows(composite / ROUTER).items() if id in same}
    fresh = sorted({expert.id for expert in plan.experts} - same)
    said = f"made anew: {', '.join(fresh)}" if fresh else "nothing is made anew"
    return Reuse(open_folder(composite), kept, rows), f"kept as they are: {', '.join(sorted(same)) or 'none'}; {said}"
