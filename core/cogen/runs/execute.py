"""Carrying a plan out: one folder that appears whole or not at all, with everything that the run leaves behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cogen.artifacts.card import write_card
from cogen.artifacts.lock import Lock, make_lock, verify, write_lock
from cogen.artifacts.private import write_private_parts
from cogen.artifacts.report.report import write_report
from cogen.checkpoints.digests import file_digest
from cogen.errors import PlanError
from cogen.files import atomic_folder
from cogen.fusion.merge.measure import Trial
from cogen.fusion.merge.search import ChosenSettings
from cogen.fusion.moe.routers import ROUTER, current_names
from cogen.fusion.moe.write import Reuse
from cogen.fusion.route.manifest import ROUTE
from cogen.fusion.strategies import blamed
from cogen.fusion.strategy import Built, Known, Measurement, Run
from cogen.host import Expert
from cogen.merging.output_folder import check_output_folder
from cogen.merging.own_files import keep_own_files
from cogen.reporter import SILENT, Reporter
from cogen.runs.outcome import LOCK, REPORT, Outcome
from cogen.runs.prepare import Prepared


def execute(
    prepared: Prepared,
    output: Path,
    *,
    replay: Lock | None = None,
    reuse: Reuse | None = None,
    routers: Path | None = None,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Build ``output`` whole, or leave what was there.

    :param replay: a lock whose scale and parameters are used without searching and whose digests the weights must have.
    :param reuse: of an earlier mixture of experts, what needs not be made again.
    :param routers: the router file that belongs to ``replay``: its rows are taken as they are.
    :raises UsageError: ``output`` holds something that CoGen did not write.
    :raises PlanError: a replay did not give the lock's bits; nothing is written.
    """
    check_output_folder(output)
    strategy, watch = prepared.strategy, _Stopwatch()
    given = _given(replay, reuse, routers)
    with atomic_folder(output, replace=True) as folder:
        run = Run(prepared.plan, prepared.inputs, folder, given, reporter, watch.lap)
        with blamed(strategy, "build"):
            built = strategy.build(run)
        _check_reproduced(replay, folder, built.hint)
        with blamed(strategy, "measure"):
            measured = strategy.measure(run, built)
        experts = [prepared.host.expert(id) for id in sorted(expert.id for expert in prepared.plan.experts)]
        lock = _leave(prepared, folder, built, measured, experts) if strategy.writes_model else None
        if lock is not None or (folder / ROUTE).is_file():
            write_private_parts(folder, experts, lock)
        keep_own_files(output, folder, reporter)
    settings = built.settings or ChosenSettings(1.0)
    return Outcome(
        folder=output,
        plan=prepared.plan,
        lock=lock,
        matrix=measured.matrix,
        trials=built.trials,
        scale=settings.scale,
        parameters=settings.parameters,
        seconds=watch.seconds,
        report=output / REPORT if lock is not None else None,
        details=measured.details,
    )


class _Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, stage: str) -> None:
        """The stage ends now."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self._since, 1)
        self._since = now


def _given(replay: Lock | None, reuse: Reuse | None, routers: Path | None) -> Known:
    if replay is None:
        return Known(reuse=reuse)
    if routers is not None and file_digest(routers) != current_names(replay.files).get(ROUTER):
        raise PlanError(
            f"{routers} does not match the digest in the lock",
            hint="put the composite's own file beside its lock, or delete it to recompute the routers",
        )
    settings = ChosenSettings(replay.scale, dict(replay.parameters))
    trials = [Trial(**trial.model_dump()) for trial in replay.trials]
    return Known(settings, trials, routers, reuse)


def _check_reproduced(replay: Lock | None, folder: Path, hint: str) -> None:
    """Configuration files name the version of transformers that wrote them; the promise is about weights."""
    if replay is None:
        return
    locked = replay.model_copy(update={"files": current_names(replay.files)})
    wrong = [name for name in verify(locked, folder) if name.endswith(".safetensors")]
    if wrong:
        raise PlanError(f"replay is not reproducible: {wrong[0]} differs from the lock", hint=hint)


def _leave(prepared: Prepared, folder: Path, built: Built, measured: Measurement, experts: Sequence[Expert]) -> Lock:
    """Lock, card and report."""
    plan, matrix = prepared.plan, measured.matrix
    settings = built.settings or ChosenSettings(1.0)
    with blamed(prepared.strategy, "describe"):
        description = prepared.strategy.describe(plan, settings, len(built.trials))
    lock = make_lock(
        plan,
        settings.scale,
        built.trials,
        folder,
        matrix,
        parameters=settings.parameters,
        seed=description.seed,
        models=prepared.strategy.models(prepared.inputs),
    )
    write_lock(lock, folder / LOCK)
    write_card(folder, lock, matrix, experts, description)
    write_report(folder / REPORT, lock, plan, matrix, built.trials, experts, measured.details, description)
    return lock
