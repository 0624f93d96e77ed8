"""The plan of a distillation on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.fusion.plan import Plan, PlannedDistillation

_STAGES = {
    "compose": "compose",
    "score": "score the texts with the teacher",
    "control": "train the control, without teachers",
    "teach": "train the student",
    "measure": "evaluate",
}
_ARRANGEMENTS = {"unified": "all teachers in one run", "pairwise": "one run per teacher, then their average"}
_MIXES = {
    "best": "each text is taught by the teacher that predicts it best",
    "static": "each text is taught by every teacher",
}


def show_plan(plan: Plan) -> None:
    """Student, teachers, and what each step takes."""
    planned = plan.distillation
    assert planned is not None
    students = set(planned.pivot.experts)
    rows = [
        {
            "expert": e.id,
            "role": "student" if e.id in students else "teacher",
            "license": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in plan.experts
    ]
    out.table(rows, title=f"distill by {plan.method} into {planned.pivot.name} ({plan.base.name})")
    out.text(f"why: {plan.why}")
    out.text(_training(planned))
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
    out.text(f"license of the composite: {plan.license}")
    cost = plan.cost
    out.text(
        f"in all about {duration(sum(s.seconds for s in planned.stages))} on this machine; writes "
        f"{cost.output_bytes / 1e6:,.0f} MB, memory about {cost.memory_bytes / 1e9:.1f} GB"
    )
    for note in plan.notes:
        out.warn(f"{note.source}: {note.message}")


def _training(planned: PlannedDistillation) -> str:
    settings = planned.settings
    weights = "all weights" if settings.mode == "full" else f"LoRA of rank {settings.rank}"
    mix = f"; {_MIXES[settings.mix]}" if len(planned.teachers) > 1 else ""
    return (
        f"trains on {planned.tokens:,} tokens of {planned.texts:,} texts ({planned.text_bytes / 1e6:.2f} MB), "
        f"{weights}, {_ARRANGEMENTS[settings.arrangement]}{mix}"
    )


def duration(seconds: float) -> str:
    """Of an estimate: "40 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
