"""The second half of a run: from a prepared plan to the composite's folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.reporter import SILENT, Reporter
from cogen.runs.outcome import Outcome
from cogen.runs.prepare import Prepared

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.fusion.moe.write import Reuse


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
    :param reuse: of an earlier mixture, what need not be made again.
    :param routers: the file ``router.safetensors`` that belongs to ``replay``.
    :raises UsageError: ``output`` holds something else.
    :raises PlanError: a replay did not give the lock's bits; nothing is written.
    """
    plan: Any = prepared.plan
    inputs = prepared.inputs
    if prepared.strategy.name == "route":
        return _route(plan, inputs, output, reporter)
    common = inputs.common if prepared.strategy.name == "distill" else inputs
    experts = [expert for expert in prepared.host.experts(computed=True) if expert.id in common.experts]
    done: Any
    if prepared.strategy.name == "distill":
        from cogen.runs.distill import fuse_distilled

        done = fuse_distilled(plan, inputs, experts, output, replay=replay, progress=reporter)
    else:
        from cogen.fusion.planner import resolve_method
        from cogen.runs.fuse import fuse

        method = resolve_method(prepared.host, plan.method, plan.parameters, plan.space)
        done = fuse(
            plan, inputs, method, experts, output, replay=replay, reuse=reuse, routers=routers, progress=reporter
        )
    report = output / "report.html"
    return Outcome(
        output,
        plan,
        done.lock,
        done.matrix,
        done.trials,
        done.scale,
        done.parameters,
        done.seconds,
        report,
        done.insight,
    )


def _route(plan: Any, inputs: Any, output: Path, reporter: Reporter) -> Outcome:
    from cogen.runs.route import build_route

    start = time.monotonic()
    done = build_route(plan, inputs, output, reporter)
    seconds = {"route": round(time.monotonic() - start, 1)}
    return Outcome(output, plan, None, done.matrix, [], 1.0, {}, seconds, None, done)
