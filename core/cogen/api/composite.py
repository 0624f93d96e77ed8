"""A composite: the folder that a fusion wrote, and what is known of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cogen.api.checks import as_path
from cogen.api.options import PathLike
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.api.chat import Chat
    from cogen.api.evaluation import Evaluation
    from cogen.artifacts.lock import Lock, LockedMatrix
    from cogen.evals import Matrix
    from cogen.fusion.plan import PlanBase
    from cogen.fusion.route.manifest import RouteManifest
    from cogen.host import Host
    from cogen.runs.outcome import Outcome

_REPORT = "report.html"
_ROUTE = "route.json"


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
        from cogen.api.fusion import update

        return update(self, output, add=add, remove=remove, level=level, host=host, reporter=reporter)

    def _repr_html_(self) -> str:
        from cogen.display import table

        title = f"{self.strategy} of {', '.join(self.experts)} in {self.folder}"
        if self.matrix is None:
            return table(title, (), (), ("not measured",))
        figures = [
            [
                row,
                *(found.value if (found := self.matrix.cells[row].get(name)) else None for name in self.matrix.columns),
            ]
            for row in self.matrix.rows
        ]
        return table(title, ("model", *self.matrix.columns), figures, (self.reused or "",))

    @property
    def experts(self) -> tuple[str, ...]:
        """Ids of the experts that it was made of, sorted."""
        source = self.plan if self.plan is not None else self.manifest
        return tuple(sorted(expert.id for expert in source.experts)) if source is not None else ()
