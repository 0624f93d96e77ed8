"""``cogen.plan``, ``cogen.fuse`` and ``cogen.update``: from installed experts to a composite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from cogen.api.checks import as_host, as_names, as_path, check_callable, check_reporter
from cogen.api.composite import Composite
from cogen.api.options import Experts, FuseOptions, PathLike, RecipeLike, given, recipe_from_options, shows_options
from cogen.choices import LEVELS, check_choice
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.fusion.plan import PlanBase
    from cogen.fusion.recipe import FuseRecipe
    from cogen.host import Host
    from cogen.runs.prepare import Prepared

#: Called with the plan before anything is built; what it raises stops the run.
OnPlan: TypeAlias = "Callable[[PlanBase], None] | None"


@shows_options
def plan(
    experts: Experts = None,
    *,
    recipe: RecipeLike = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[FuseOptions],
) -> PlanBase:
    """What :func:`fuse` would do with the same arguments, and what it costs. Nothing is built.

    :param experts: ids, or a mapping of ids to weights; left out: every installed expert.
    :param recipe: a file ``recipe.toml``, or its fields; ``options`` override it.
    :raises UsageError: no expert, an unknown one, or an option that the strategy does not take.
    :raises CompatibilityError: the experts cannot be fused in this way.
    """
    require("fuse", "cogen.plan")
    check_reporter(reporter)
    found: PlanBase = _prepare(as_host(host), recipe_from_options(experts, recipe, options), reporter).plan
    return found


@shows_options
def fuse(
    experts: Experts = None,
    output: PathLike = "composite",
    *,
    recipe: RecipeLike = None,
    plan: PlanBase | PathLike | None = None,
    lock: Lock | PathLike | None = None,
    on_plan: OnPlan = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[FuseOptions],
) -> Composite:
    """Build one model out of the installed experts, measure it, and write it into ``output`` with its lock and report.

    :param experts: ids, or a mapping of ids to weights; left out: every installed expert.
    :param output: the folder to write; an earlier composite in it is replaced, anything else is left alone.
    :param recipe: a file ``recipe.toml``, or its fields; ``options`` override it.
    :param plan: instead: a plan, or the file that it was saved in; it is built as it was reviewed.
    :param lock: instead: a lock, its file or its composite's folder; the same bits are built again, without a search.
        Of the options, only ``level`` may go with it.
    :param on_plan: called with the plan before anything is built; what it raises stops the run.
    :raises UsageError: an option that is wrong, or an ``output`` that holds something else.
    :raises CompatibilityError: the experts cannot be fused in this way.
    :raises PlanError: what is installed is not what ``plan`` or ``lock`` names, or the bits differ.
    """
    require("fuse", "cogen.fuse")
    from cogen.merging.output_folder import check_output_folder

    folder = as_path("output", output)
    check_reporter(reporter)
    check_callable("on_plan", on_plan)
    check_output_folder(folder)
    _check_alone(plan, lock, experts or recipe, options)
    host = as_host(host)
    how: dict[str, Any] = {}
    if plan is not None:
        prepared = _from_plan(plan, host, reporter)
    elif lock is not None:
        prepared, how = _replayed(lock, options.get("level"), host, reporter)
    else:
        prepared = _prepare(host, recipe_from_options(experts, recipe, options), reporter)
    return _build(prepared, folder, on_plan, reporter, **how)


def update(
    composite: Composite | PathLike,
    output: PathLike,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    level: str | None = None,
    on_plan: OnPlan = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Composite:
    """Build a composite with some experts more or less, and everything else as in its lock.

    A mixture whose routers are independent of each other keeps its other experts bit for bit; anything else is rebuilt:
    ``reporter.note`` and :attr:`Composite.reused` say which.

    :param composite: what :func:`fuse` returned, or its folder.
    :param output: the folder to write.
    :raises UsageError: nothing to change, an expert that is there already or is not, or no expert left.
    :raises PlanError: the composite's files are no longer those of its lock.
    """
    require("fuse", "cogen.update")
    from cogen.errors import UsageError
    from cogen.merging.output_folder import check_output_folder
    from cogen.runs.update import reusable_parts, updated_recipe

    before = composite.folder if isinstance(composite, Composite) else as_path("composite", composite)
    more, less, folder = as_names("add", add), as_names("remove", remove), as_path("output", output)
    check_reporter(reporter)
    check_callable("on_plan", on_plan)
    if not more and not less:
        raise UsageError("nothing to update", hint="name an expert to add or to remove")
    check_output_folder(folder)
    host = as_host(host)
    reporter.note(f"checking {before}")
    lock, recipe = updated_recipe(before, more, less, _level(level), host=host)
    prepared = _prepare(host, recipe, reporter)
    reuse, reused = reusable_parts(lock, prepared.plan, before, host=host)
    reporter.note(reused)
    return replace(_build(prepared, folder, on_plan, reporter, reuse=reuse), reused=reused)


def _check_alone(plan: object, lock: object, chosen: object, options: FuseOptions) -> None:
    """:raises UsageError: a plan or lock, and beside it something that it decides already."""
    from cogen.errors import UsageError

    if plan is None and lock is None:
        return
    names = set(given(options)) - ({"level"} if plan is None else set())
    if chosen or names or (plan is not None and lock is not None):
        raise UsageError(
            "a saved plan or lock leaves nothing else to choose",
            hint="name either a plan, a lock, or experts and options",
        )


def _prepare(host: Host, recipe: FuseRecipe, reporter: Reporter) -> Prepared:
    from cogen.fusion.strategies import AUTO
    from cogen.runs.prepare import prepare

    check_choice("strategy", recipe.strategy, (*host.strategies(), AUTO))
    return prepare(host, recipe, reporter=reporter)


def _from_plan(plan: PlanBase | PathLike, host: Host, reporter: Reporter) -> Prepared:
    from cogen.errors import UsageError
    from cogen.fusion.plan import Plan, PlanBase, read_plan
    from cogen.runs.replay import prepare_plan

    if not isinstance(plan, PlanBase):
        return prepare_plan(host, read_plan(as_path("plan", plan)), f"the plan {plan}", reporter=reporter)
    if not isinstance(plan, Plan):
        raise UsageError(
            f"a plan of strategy {plan.strategy} cannot be built: it writes no model",
            hint="pass the options instead of the plan",
        )
    return prepare_plan(host, plan, "the plan", reporter=reporter)


def _replayed(
    lock: Lock | PathLike, level: str | None, host: Host, reporter: Reporter
) -> tuple[Prepared, dict[str, Any]]:
    """What a lock says, prepared, and how it is to be carried out."""
    from cogen.artifacts.lock import Lock, read_lock
    from cogen.runs.replay import prepare_replay, routers_beside

    path = None if isinstance(lock, Lock) else as_path("lock", lock)
    replay, name = (lock, "the lock") if isinstance(lock, Lock) else (read_lock(path), f"the lock {lock}")
    routers = None if path is None else routers_beside(path)
    prepared = prepare_replay(host, replay, name, level=_level(level), reporter=reporter)
    return prepared, {"replay": replay, "routers": routers}


def _level(level: str | None) -> Any:
    """:raises UsageError: an unknown level."""
    return None if level is None else check_choice("level", level, LEVELS)


def _build(prepared: Prepared, folder: Path, on_plan: OnPlan, reporter: Reporter, **how: Any) -> Composite:
    """Carry out what was prepared; ``how`` as for :func:`~cogen.runs.execute.execute`."""
    from cogen.api.progress import PluginProgress
    from cogen.runs.execute import execute

    if on_plan is not None:
        on_plan(prepared.plan)
    progress = PluginProgress(reporter, prepared.host, "fuse")
    progress.begin("fusing", prepared.plan.cost.forward_tokens or None, "tokens")
    return Composite.of(execute(prepared, folder, reporter=progress, **how))
