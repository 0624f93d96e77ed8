"""`cogen plan` and `cogen fuse` where experts of other families teach: strategy distill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.fusion.distill.plan import DistillInputs
    from cogen.fusion.plan import Plan
    from cogen.host import Host

_STAGES = {
    "compose": "put together",
    "score": "read all texts",
    "control": "train the control, without teachers",
    "teach": "train with teachers",
    "measure": "measure",
}


def run(host: Host, plan: Plan, inputs: DistillInputs, output: Path, replay: Lock | None = None) -> None:
    """Carry the plan out and say what came of it.

    :raises UsageError: ``output`` holds something that is not ours.
    """
    from cogen.artifacts.summary import against_control
    from cogen.cli.fuse import result
    from cogen.cli.matrix import show_matrix
    from cogen.cli.progress import PluginProgress
    from cogen.runs.distill import fuse_distilled
    from cogen.runs.fuse import REPORT

    show_plan(plan)
    chosen = [expert for expert in host.experts(computed=True) if expert.id in inputs.common.experts]
    with out.progress(plan.cost.forward_tokens or None, "fusing", unit="tokens") as bar:
        outcome = fuse_distilled(
            plan, inputs, chosen, output, replay=replay, progress=PluginProgress(bar, host, "fuse")
        )
    if outcome.matrix is not None:
        show_matrix(outcome.matrix)
        out.text(against_control(outcome.matrix) or "")
    out.status(", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items()))
    out.success(f"wrote {output} ({plan.method}); talk to it: cogen chat {output}")
    out.text(f"report: {(output / REPORT).resolve()}")
    found = result(outcome, plan)
    assert plan.distillation is not None
    found["distillation"] = plan.distillation.model_dump(mode="json")
    if outcome.matrix is not None:
        found["against_control"] = against_control(outcome.matrix)
    out.result(found)


def show_plan(plan: Plan) -> None:
    """Who teaches whom, and what each step takes."""
    planned = plan.distillation
    assert planned is not None
    taught = set(planned.pivot.experts)
    rows = [
        {
            "expert": e.id,
            "part": "learns" if e.id in taught else "teaches",
            "licence": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in plan.experts
    ]
    out.table(rows, title=f"distill by {plan.method} into {planned.pivot.name} ({plan.base.name})")
    out.text(f"why: {plan.why}")
    wish = planned.settings
    how = {"unified": "all teachers in one run", "pairwise": "one run for each teacher, then their average"}
    who = {"best": "the teacher that predicts a text best teaches it", "static": "every teacher teaches every text"}
    said = f"; {who[wish.mix]}" if len(planned.teachers) > 1 else ""
    out.text(
        f"learns {planned.tokens:,} tokens of {planned.texts:,} texts ({planned.text_bytes / 1e6:.2f} MB), "
        f"{'all weights' if wish.mode == 'full' else f'LoRA of rank {wish.rank}'}, {how[wish.arrangement]}{said}"
    )
    out.table(
        [
            {
                "step": _STAGES[s.stage],
                "model": s.what,
                "tokens": f"{s.tokens:,}",
                "time, about": duration(s.seconds),
                "kept on disk": f"{s.bytes / 1e6:,.0f} MB" if s.bytes else "",
            }
            for s in planned.stages
        ],
        title="steps",
    )
    out.text(f"licence of the composite: {plan.license}")
    cost = plan.cost
    out.text(
        f"in all about {duration(sum(s.seconds for s in planned.stages))} here; writes "
        f"{cost.output_bytes / 1e6:,.0f} MB, memory about {cost.memory_bytes / 1e9:.1f} GB"
    )
    for note in plan.notes:
        out.warn(f"{note.source}: {note.message}")


def duration(seconds: float) -> str:
    """Of an estimate: "40 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def shown(host: Host, wanted: Any) -> Plan:
    """The plan of these wishes, shown."""
    from cogen.fusion.distill.plan import plan_distillation

    plan, _ = plan_distillation(host, wanted, talk=out.status)
    show_plan(plan)
    return plan
