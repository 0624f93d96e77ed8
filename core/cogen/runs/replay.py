"""Building again what a saved plan or a lock says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.side_files import RECORD, differing
from cogen.errors import PlanError
from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.moe.routers import router_file
from cogen.fusion.plan import Plan, PlanBase, check_unmoved
from cogen.fusion.recipe import FuseRecipe, Level, MatrixKind
from cogen.fusion.strategies import strategy_of
from cogen.reporter import SILENT, Reporter
from cogen.runs.prepare import Prepared, prepare

#: What converts GGUF files.
_CONVERTERS = ("gguf", "transformers", "tokenizers")

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
    _check_model_files(lock, now, what, reporter)
    measured = {name: getattr(now.plan, name) for name in ("level", "matrix", "eval_dtype", "suites", "cost")}
    return replace(now, plan=lock.plan.model_copy(update=measured))


def _check_model_files(lock: Lock, now: Prepared, what: str, reporter: Reporter) -> None:
    """Configuration, tokenizer and what else lies beside the weights are those of the lock.

    :raises PlanError: naming the first that is not.
    """
    from cogen.artifacts.lock import model_files, software_versions

    models = now.strategy.models(now.inputs)
    if not lock.model_files:
        if models:
            reporter.note(
                f"{what} is of before CoGen pinned configuration and tokenizer files: only weights, tokenizers and "
                "data are compared with it"
            )
        return
    found, versions = model_files(models), software_versions()
    same = all(versions.get(name) == lock.software.get(name) for name in _CONVERTERS)
    for name in sorted(lock.model_files.keys() & found.keys()):
        wrong = differing(lock.model_files[name], found[name])
        if not wrong:
            continue
        called = "the base" if name == "base" else name
        if not same and (models[name].folder / RECORD).is_file():
            # What other versions write beside a GGUF file's weights says the same in other words.
            reporter.note(f"{wrong[0]} of {called} was converted from GGUF by other versions than the lock's")
            continue
        raise PlanError(
            f"{what} no longer holds: {wrong[0]} of {called} is another file ({models[name].folder})",
            hint="put the former file back, or fuse anew",
        )


def routers_beside(lock: Path) -> Path | None:
    """The file of router rows that lies beside a lock: with it a replay on another machine has the same bits."""
    return router_file(lock if lock.is_dir() else lock.parent)
