"""``cogen.plan``, ``cogen.fuse`` and ``cogen.update``: from installed experts to a :class:`Composite`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

from cogen.api.checks import as_host, as_names, as_path, check_callable, check_reporter
from cogen.api.options import Experts, FuseOptions, PathLike, RecipeLike, given, recipe_from_options, shows_options
from cogen.choices import LEVELS, MATRICES, check_choice
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.api.chat import Chat
    from cogen.api.evaluation import Evaluation
    from cogen.artifacts.lock import Lock, LockedMatrix
    from cogen.evals import Matrix
    from cogen.fusion.plan import PlanBase
    from cogen.fusion.recipe import FuseRecipe
    from cogen.fusion.route.manifest import RouteManifest
    from cogen.host import Host
    from cogen.runs.outcome import Outcome
    from cogen.runs.prepare import Prepared

_REPORT = "report.html"
_ROUTE = "route.json"
#: Called with the plan before anything is built; what it raises stops the run.
OnPlan: TypeAlias = "Callable[[PlanBase], None] | None"


@dataclass(frozen=True)
class Composite:
    """One model out of several experts, in ``folder``.

    :param strategy: merge, moe, distill or route.
    :param plan: what was built; ``None`` of a route that was opened from its folder, which keeps its manifest instead.
    :param lock: everything that decided the weights, so that they can be built again; ``None`` of a route.
    :param matrix: rows are models, columns suites; ``None`` if nothing was measured. Opened from a
        lock, it has no figures of single documents.
    :param report: the HTML report; ``None`` of a route.
    :param outcome: trials, seconds by stage and more; ``None`` of a composite that was opened from its folder.
    :param reused: after an update, what was kept of the composite before, and what was built again, in words.
    """

    folder: Path
    strategy: str
    plan: PlanBase | None
    lock: Lock | None
    matrix: Matrix | LockedMatrix | None
    report: Path | None
    manifest: RouteManifest | None = None
    outcome: Outcome | None = None
    reused: str | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """What a run gave."""
        manifest = getattr(outcome.details, "manifest", None)
        plan = outcome.plan
        return cls(outcome.folder, plan.strategy, plan, outcome.lock, outcome.matrix, outcome.report, manifest, outcome)

    @classmethod
    def open(cls, folder: PathLike) -> Self:
        """A composite that ``cogen fuse`` wrote earlier; only its lock or manifest is read.

        :raises UsageError: the folder holds none.
        :raises SpecError: its lock or manifest cannot be read.
        """
        from cogen.artifacts.lock import LOCK_NAME, read_lock
        from cogen.errors import UsageError

        path = as_path("folder", folder)
        if (path / _ROUTE).is_file():
            from cogen.evals import Matrix
            from cogen.fusion.route import read_route

            file = path / "matrix.json"
            matrix = Matrix.from_json(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
            return cls(path, "route", None, None, matrix, None, read_route(path))
        if not (path / LOCK_NAME).is_file():
            raise UsageError(f"{path} is not a composite", hint="name a folder that `cogen fuse` wrote")
        lock = read_lock(path)
        report = path / _REPORT
        return cls(path, lock.plan.strategy, lock.plan, lock, lock.matrix, report if report.is_file() else None)

    def load(self, dtype: str = "bfloat16") -> tuple[Any, Any]:
        """The transformers model, in eval mode, and its tokenizer.

        :raises UsageError: it is a route, which is not one model: use :meth:`chat`.
        """
        require("fuse", "Composite.load")
        from cogen.checkpoints.load import load_model, load_tokenizer
        from cogen.checkpoints.model import open_folder
        from cogen.choices import DTYPES, check_choice
        from cogen.errors import UsageError

        check_choice("dtype", dtype, DTYPES)
        if self.lock is None:
            raise UsageError(
                f"strategy {self.strategy} writes no model that can be loaded", hint="ask its experts with chat()"
            )
        return load_model(open_folder(self.folder), dtype), load_tokenizer(self.folder)

    def chat(self, **options: Any) -> Chat:
        """A conversation; ``options`` as for :func:`cogen.chat`."""
        from cogen.api.chat import chat

        return chat(self.folder, **options)

    def evaluate(self, **options: Any) -> Evaluation:
        """Measure it again, or in another way; ``options`` as for :func:`cogen.evaluate`."""
        from cogen.api.evaluation import evaluate

        return evaluate(self.folder, **options)

    def update(
        self,
        output: PathLike,
        *,
        add: Any = (),
        remove: Any = (),
        level: str | None = None,
        host: Host | None = None,
        reporter: Reporter = SILENT,
    ) -> Composite:
        """The same as :func:`cogen.update`."""
        return update(self, output, add=add, remove=remove, level=level, host=host, reporter=reporter)

    def _repr_html_(self) -> str:
        from cogen.display import table

        title = f"{self.strategy} of {', '.join(self.experts)} in {self.folder}"
        if self.matrix is None:
            return table(title, (), (), ("not measured",))
        from cogen.evals.matrix import EMPTY

        columns = self.matrix.columns
        figures = [
            [
                row,
                *(EMPTY if (found := self.matrix.get(row, name)) is None else found.value for name in columns),
            ]
            for row in self.matrix.rows
        ]
        return table(title, ("model", *columns), figures, (self.reused or "",))

    @property
    def experts(self) -> tuple[str, ...]:
        """Ids of the experts that it was made of, sorted."""
        source = self.plan if self.plan is not None else self.manifest
        return tuple(sorted(expert.id for expert in source.experts)) if source is not None else ()


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
    replace: bool = False,
    on_plan: OnPlan = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[FuseOptions],
) -> Composite:
    """Build one model out of the installed experts, measure it, and write it into ``output`` with its lock and report.

    :param experts: ids, or a mapping of ids to weights; left out: every installed expert.
    :param output: the folder to write; an earlier composite of the same recipe in it is replaced, anything else is left
        alone.
    :param recipe: a file ``recipe.toml``, or its fields; ``options`` override it.
    :param plan: instead: a plan, or the file that it was saved in; it is built as it was reviewed.
    :param lock: instead: a lock, its file or its composite's folder; the same bits are built again, without a search.
        Of the options, only ``level`` and ``matrix`` may go with it.
    :param replace: replace the composite of another recipe too.
    :param on_plan: called with the plan before anything is built; what it raises stops the run.
    :raises UsageError: an option that is wrong, or an ``output`` that holds something else or is being written.
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
        prepared, how = _replayed(lock, options, host, reporter)
    else:
        prepared = _prepare(host, recipe_from_options(experts, recipe, options), reporter)
    return _build(prepared, folder, on_plan, reporter, replacing=replace, **how)


def update(
    composite: Composite | PathLike,
    output: PathLike,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    level: str | None = None,
    replace: bool = False,
    on_plan: OnPlan = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Composite:
    """Build a composite with some experts more or less, and everything else as in its lock.

    A mixture whose routers are independent of each other keeps its other experts bit for bit; anything else is rebuilt:
    ``reporter.note`` and :attr:`Composite.reused` say which.

    :param composite: what :func:`fuse` returned, or its folder.
    :param output: the folder to write.
    :param replace: replace what another recipe gave, ``composite`` itself for example.
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
    found = _build(prepared, folder, on_plan, reporter, replacing=replace, reuse=reuse)
    return dataclasses.replace(found, reused=reused)


def _check_alone(plan: object, lock: object, chosen: object, options: FuseOptions) -> None:
    """:raises UsageError: a plan or lock, and beside it something that it decides already."""
    from cogen.errors import UsageError

    if plan is None and lock is None:
        return
    names = set(given(options)) - ({"level", "matrix"} if plan is None else set())
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
    lock: Lock | PathLike, options: FuseOptions, host: Host, reporter: Reporter
) -> tuple[Prepared, dict[str, Any]]:
    """What a lock says, prepared, and how it is to be carried out."""
    from cogen.artifacts.lock import Lock, read_lock
    from cogen.runs.replay import prepare_replay, routers_beside

    if isinstance(lock, Lock):
        replay, name, routers = lock, "the lock", None
    else:
        path = as_path("lock", lock)
        replay, name, routers = read_lock(path), f"the lock {path}", routers_beside(path)
    level, kind = options.get("level"), options.get("matrix")
    matrix: Any = None if kind is None else check_choice("matrix", kind, MATRICES)
    prepared = prepare_replay(host, replay, name, level=_level(level), matrix=matrix, reporter=reporter)
    return prepared, {"replay": replay, "routers": routers}


def _level(level: str | None) -> Any:
    """:raises UsageError: an unknown level."""
    return None if level is None else check_choice("level", level, LEVELS)


def _build(
    prepared: Prepared, folder: Path, on_plan: OnPlan, reporter: Reporter, replacing: bool, **how: Any
) -> Composite:
    """Carry out what was prepared; ``how`` as for :func:`~cogen.runs.execute.execute`."""
    from cogen.api.progress import PluginProgress
    from cogen.merging.output_folder import one_writer
    from cogen.runs.execute import execute
    from cogen.runs.replacing import check_replaceable

    with one_writer(folder):
        if not replacing:
            check_replaceable(folder, prepared)
        if on_plan is not None:
            on_plan(prepared.plan)
        progress = PluginProgress(reporter, prepared.host, "fuse")
        progress.begin("fusing", prepared.plan.cost.forward_tokens or None, "tokens")
        return Composite.of(execute(prepared, folder, reporter=progress, **how))
