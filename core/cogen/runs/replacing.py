"""A run replaces what its output folder holds only if that has the same recipe, unless the user says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cogen.artifacts.lock import LOCK_NAME, read_lock
from cogen.errors import CogenError
from cogen.fusion.route.manifest import ROUTE, read_route
from cogen.fusion.strategies import strategy_of
from cogen.merging.output_folder import MARKS, other_recipe
from cogen.phrases import enumerated
from cogen.runs.prepare import Prepared


def check_replaceable(output: Path, prepared: Prepared) -> None:
    """:raises UsageError: ``output`` holds the composite of another recipe. Level and versions don't count."""
    if not any((output / mark).is_file() for mark in MARKS):
        return
    if (output / ROUTE).is_file():
        held = read_route(output)
        same = not prepared.strategy.writes_model and [e.id for e in held.experts] == _ids(prepared.plan)
        if not same:
            raise other_recipe(output, f"a route of {enumerated([e.id for e in held.experts])}")
        return
    if not (output / LOCK_NAME).is_file():
        raise other_recipe(output, "the result of `cogen merge`")
    try:
        held_plan = read_lock(output / LOCK_NAME).plan
        same = prepared.strategy.writes_model and (
            _recipe(held_plan, prepared) == _recipe(prepared.plan, prepared)
            or held_plan.inputs_digest == prepared.plan.inputs_digest
        )
    except CogenError as error:
        raise other_recipe(output, f"a composite whose lock cannot be read ({error.message})") from error
    if not same:
        raise other_recipe(output, f"another composite, {held_plan.strategy} of {enumerated(_ids(held_plan))}")


def _ids(plan: Any) -> list[str]:
    return sorted(expert.id for expert in plan.experts)


def _recipe(plan: Any, prepared: Prepared) -> dict[str, Any]:
    """What a user asked for: without how it is measured, which changes nothing of the weights."""
    recipe = strategy_of(plan, prepared.host).recipe(plan)
    found: dict[str, Any] = recipe.model_dump(mode="json", exclude={"level", "matrix"})
    return found
