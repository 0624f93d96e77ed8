"""One fusion from plan to folder: search, merge, measure, and everything that the run leaves behind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.artifacts.card import write_card
from cogen.artifacts.lock import Lock, make_lock, verify, write_lock
from cogen.artifacts.report.report import write_report
from cogen.files import atomic_folder
from cogen.checkpoints.digests import file_digest
from cogen.errors import PlanError
from cogen.evals import Matrix
from cogen.fusion.merge.calibration import calibrated
from cogen.fusion.merge.outputs import write_composite
from cogen.merging.output_folder import check_output_folder
from cogen.fusion.merge.measure import Trial, measure_matrix
from cogen.fusion.moe.insight import Insight, measure_insight
from cogen.fusion.moe.routers import ROUTER, read_rows, untrained_rows, write_rows
from cogen.fusion.moe.train_routers import trained_rows
from cogen.fusion.moe.write import Reuse, write_mixture
from cogen.fusion.plan import Plan
from cogen.fusion.planner import Inputs
from cogen.fusion.recipe import FuseRecipe, Level, ExpertOptions
from cogen.fusion.merge.search import ChosenSettings, search
from cogen.host import Expert

LOCK = "cogen.lock"
REPORT = "report.html"


@dataclass(frozen=True)
class Outcome:
    """What a fusion gave; ``seconds`` by stage."""

    folder: Path
    scale: float
    #: What was chosen beside the scale; a weight is called ``weight.ID``.
    parameters: dict[str, float]
    trials: list[Trial]
    matrix: Matrix | None
    lock: Lock
    seconds: dict[str, float]
    #: Of a mixture that was measured.
    insight: Insight | None = None


def fuse(
    plan: Plan, inputs: Inputs, method: Any, experts: Sequence[Expert], output: Path, *,
    replay: Lock | None = None, reuse: Reuse | None = None, routers: Path | None = None, progress: Any = None,
) -> Outcome:
    """Build ``output`` whole, or leave what was there.

    :param replay: a lock whose scale and parameters are used without searching and whose digests the weights must have.
    :param reuse: of an earlier mixture, what needs not be made again.
    :param routers: the file ``router.safetensors`` that belongs to ``replay``: its rows are taken as they are.
    :raises UsageError: ``output`` holds something that is not ours.
    :raises PlanError: a replay did not give the lock's bits; nothing is written.
    """
    check_output_folder(output)
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage] = round(time.monotonic() - clock, 1)
        clock = time.monotonic()

    if replay is not None and routers is not None and file_digest(routers) != replay.files.get(ROUTER):
        raise PlanError(
            f"{routers} is not the lock's",
            hint="put the composite's own file beside its lock, or take it away: routers are then made again",
        )
    inputs = calibrated(plan, inputs, method, progress)
    if replay is None:
        choice, trials = search(plan, inputs, method, progress)
    else:
        choice = ChosenSettings(replay.scale, dict(replay.parameters))
        trials = [Trial(**trial.model_dump()) for trial in replay.trials]
    lap("search")
    rows = None
    if plan.mixture is not None:
        rows = read_rows(routers) if routers else _rows(plan, inputs, method, reuse, progress)
        lap("routing")
    with atomic_folder(output, replace=True) as part:
        if progress:
            progress.describe("writing the composite")
        if rows is not None:
            write_mixture(plan, inputs, method, rows, part, reuse=reuse)
            write_rows(rows, part)
        else:
            write_composite(
                plan, inputs.base, list(inputs.experts.values()), method, {"scale": choice.scale, **choice.parameters},
                part, grams=inputs.grams, lexicon=inputs.lexicon,
            )
        # Configuration files name the version of transformers that wrote them; the promise is about weights.
        wrong = [name for name in verify(replay, part) if name.endswith(".safetensors")] if replay else []
        if wrong:
            raise PlanError(
                f"the replay gave other bits in {wrong[0]}",
                hint="the experts are as locked, so please report this: it is a bug"
                if rows is None or routers
                else f"routers are made on this machine's arithmetic: put the composite's {ROUTER} beside its lock",
            )
        lap("merge" if rows is None else "assembly")
        matrix = measure_matrix(plan, inputs, part, progress) if plan.level != "none" else None
        lap("measure")
        insight = measure_insight(plan, inputs, part, progress) if matrix is not None and rows is not None else None
        if insight is not None:
            lap("insight")
        lock = make_lock(plan, choice.scale, trials, part, matrix, parameters=choice.parameters)
        write_lock(lock, part / LOCK)
        write_card(part, lock, matrix, list(experts))
        write_report(part / REPORT, lock, plan, matrix, trials, list(experts), insight)
    return Outcome(output, choice.scale, choice.parameters, trials, matrix, lock, seconds, insight)


def _rows(plan: Plan, inputs: Inputs, method: Any, reuse: Reuse | None, progress: Any) -> dict[str, Any]:
    """The routers' rows by slot."""
    assert plan.mixture is not None
    rows = untrained_rows(plan, inputs, reuse.rows if reuse else None, progress)
    return trained_rows(plan, inputs, method, rows, progress) if plan.mixture.tuned else rows


def recipe_of(
    plan: Plan, *, scale: float | None = None, parameters: Mapping[str, float] | None = None, level: Level | None = None
) -> FuseRecipe:
    """The recipe that gives ``plan`` again, so that a saved one can be compared with what is installed.

    :param scale: that of a lock. The recipe is then one of the locked composite: nothing is left to search.
    :param parameters: what the lock has beside the scale.
    """
    chosen = dict(parameters or {})
    experts = {
        expert.id: ExpertOptions(weight=chosen.pop(f"weight.{expert.id}", expert.weight), parameters=expert.parameters)
        for expert in plan.experts
    }
    vocabulary: Any = {name: getattr(plan, name) for name in ("tokenizer", "transplant", "chat_template")}
    if plan.distillation is not None:
        return FuseRecipe(
            experts=experts, strategy="distill", method=plan.method, parameters=plan.parameters,
            level=level or plan.level, distill=plan.distillation.settings,
        )
    if (mixture := plan.mixture) is not None:
        embedder, digest = mixture.embedder or (None, None)
        return FuseRecipe(
            experts=experts, strategy="moe", method=plan.method, scale=plan.scales[0], parameters=plan.parameters,
            level=level or plan.level, routing=mixture.routing, top_k=mixture.top_k, public=mixture.public,
            embedder=embedder, embedder_digest=digest or None, **vocabulary,
        )
    if scale is not None:
        # What a search among the experts ended in is their plain average.
        method = "linear" if plan.search and not plan.space else plan.method
        given = {**plan.parameters, **chosen}
        return FuseRecipe(
            experts=experts, strategy="merge", method=method, scale=scale, parameters=given, level=level or plan.level,
            **vocabulary,
        )
    return FuseRecipe(
        experts=experts,
        strategy="merge",
        method=plan.method,
        scale=plan.scales[0] if len(plan.scales) == 1 else plan.scales,
        parameters=plan.parameters,
        search=plan.search if plan.space else 0,  # without a space the method itself asks for it
        space=plan.space,
        level=level or plan.level,
        **vocabulary,
    )
