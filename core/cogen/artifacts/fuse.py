"""One fusion from plan to folder: search, merge, measure, and everything that the run leaves behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.artifacts.card import write_card
from cogen.artifacts.lock import Lock, make_lock, verify, write_lock
from cogen.artifacts.report import write_report
from cogen.checkpoints.cache import atomic_folder
from cogen.errors import PlanError, UsageError
from cogen.evals import Matrix
from cogen.fusion.engine import write_composite
from cogen.fusion.measure import Trial, measure_matrix, search_scale
from cogen.fusion.plan import Plan
from cogen.fusion.planner import Inputs
from cogen.fusion.recipe import FuseRecipe, Level
from cogen.host import Expert

LOCK = "cogen.lock"
REPORT = "report.html"


@dataclass(frozen=True)
class Outcome:
    """What a fusion gave; ``seconds`` by stage."""

    folder: Path
    scale: float
    trials: list[Trial]
    matrix: Matrix | None
    lock: Lock
    seconds: dict[str, float]


def fuse(
    plan: Plan, inputs: Inputs, method: Any, experts: Sequence[Expert], output: Path, *,
    replay: Lock | None = None, progress: Any = None,
) -> Outcome:  # fmt: skip
    """Build ``output`` whole, or leave what was there.

    :param replay: a lock whose scale is used without searching and whose digests the weights must have.
    :raises UsageError: ``output`` holds something that is not ours.
    :raises PlanError: a replay did not give the lock's bits; nothing is written.
    """
    refuse_foreign(output)
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage] = round(time.monotonic() - clock, 1)
        clock = time.monotonic()

    if replay is None:
        scale, trials = search_scale(plan, inputs, method, progress)
    else:
        scale, trials = replay.scale, [Trial(**trial.model_dump()) for trial in replay.trials]
    lap("search")
    with atomic_folder(output, replace=True) as part:
        if progress:
            progress.describe("writing the composite")
        write_composite(plan, inputs.base, list(inputs.experts.values()), method, scale, part)
        # Configuration files name the version of transformers that wrote them; the promise is about weights.
        wrong = [name for name in verify(replay, part) if name.endswith(".safetensors")] if replay else []
        if wrong:
            raise PlanError(
                f"the replay gave other bits in {wrong[0]}",
                hint="the experts are as locked, so please report this: it is a bug",
            )
        lap("merge")
        matrix = measure_matrix(plan, inputs, part, progress) if plan.level != "none" else None
        lap("measure")
        lock = make_lock(plan, scale, trials, part, matrix)
        write_lock(lock, part / LOCK)
        write_card(part, lock, matrix, list(experts))
        write_report(part / REPORT, lock, plan, matrix, trials, list(experts))
    return Outcome(output, scale, trials, matrix, lock, seconds)


def refuse_foreign(output: Path) -> None:
    """Only a folder that we wrote, an empty one or none is replaced."""
    if output.is_file():
        raise UsageError(f"{output} is a file", hint="name a folder with -o")
    if output.is_dir() and any(output.iterdir()) and not (output / LOCK).is_file():
        raise UsageError(
            f"{output} exists and is not a composite of ours", hint="name another folder with -o, or move it away"
        )


def wishes(plan: Plan, *, scale: float | None = None, level: Level | None = None) -> FuseRecipe:
    """The recipe that gives ``plan`` again, so that a saved one can be compared with what is installed."""
    fixed = scale if scale is not None else (plan.scales[0] if len(plan.scales) == 1 else plan.scales)
    return FuseRecipe(
        experts={expert.id: expert.weight for expert in plan.experts},
        strategy="auto",
        method=plan.method,
        scale=fixed,
        parameters=plan.parameters,
        level=level or plan.level,
    )
