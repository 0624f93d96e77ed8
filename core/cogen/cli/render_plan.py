"""A plan on a terminal, as its strategy describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.fusion.details import PlannedStage
    from cogen.fusion.plan import Cost, PlanBase
    from cogen.fusion.strategy import Description
    from cogen.host import Host

_STAGES = {
    "compose": "compose",
    "score": "score the texts with the teacher",
    "control": "train the control, without teachers",
    "teach": "train the student",
    "measure": "evaluate",
}


def show_plan(plan: PlanBase, host: Host | None = None, replay: Lock | None = None) -> None:
    """The plan for people.

    :param host: knows the strategies of plugins.
    :param replay: a lock: shown is what it chose, not what would be searched.
    """
    from cogen.fusion.merge.search import ChosenSettings
    from cogen.fusion.strategies import strategy_of

    settings = None if replay is None else ChosenSettings(replay.scale, dict(replay.parameters))
    description = strategy_of(plan, host).describe(plan, settings)
    base = getattr(plan, "base", None)
    title = f"{plan.strategy}, {description.how}" + (f", onto {base.name}" if base else "")
    out.table(_experts(plan, description, {} if settings is None else settings.parameters), title=title)
    out.text(f"why: {plan.why}")
    for line in description.lines:
        out.text(line)
    if description.steps:
        out.table(list(map(_step, description.steps)), title="steps")
        out.text(f"in all about {duration(sum(s.seconds for s in description.steps))} on this machine")
    for note in getattr(getattr(plan, "vocabulary", None), "notes", ()):
        out.text(note)
    if (license := getattr(plan, "license", None)) is not None:
        out.text(f"license of the composite: {license}")
    _show_cost(plan, _written_tokens(plan, host))
    for warning in plan.notes:
        out.warn(f"{warning.source}: {warning.message}")


def _experts(plan: PlanBase, description: Description, locked: dict[str, float]) -> list[dict[str, Any]]:
    from cogen.fusion.merge import choice

    return [
        {
            "expert": e.id,
            **({"weight": choice.weight(e, locked)} if description.weighted else {}),
            "relation": e.relation,
            "license": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in sorted(plan.experts, key=lambda e: e.id)
    ]


def _step(stage: PlannedStage) -> dict[str, str]:
    return {
        "step": _STAGES[stage.stage],
        "model": stage.what,
        "tokens": f"{stage.tokens:,}",
        "time, about": duration(stage.seconds),
        "kept on disk": f"{stage.bytes / 1e6:,.0f} MB" if stage.bytes else "",
    }


def _written_tokens(plan: PlanBase, host: Host | None) -> int:
    """What the models that are asked the chat suite write at most; those without a chat template write nothing."""
    from cogen.evals.chat import most_written
    from cogen.fusion.strategies import strategy_of

    if plan.level == "none" or not strategy_of(plan, host).writes_model:  # a route is not asked
        return 0
    # Base and composite; at the level full every expert too.
    return (2 + (len(plan.experts) if plan.level == "full" else 0)) * most_written(plan.level)


def _show_cost(plan: PlanBase, written: int) -> None:
    cost = plan.cost
    if plan.level != "none":
        asked = f", up to {written:,} written ones for the chat suite" if written else ""
        out.text(
            f"evaluation: level {plan.level}, {len(plan.suites)} suites, {cost.forward_tokens:,} forward tokens "
            f"({_passes(cost)}){asked} in {plan.eval_dtype}"
        )
    if cost.parameters and cost.forward_tokens:
        from cogen.fusion.speed import WRITTEN, seconds

        about = duration(seconds(cost.parameters, cost.forward_tokens + WRITTEN * written))
        out.text(f"about {about} on this machine, less what the cache holds already; half or twice as much is possible")
    if cost.output_bytes:
        out.text(
            f"writes {cost.output_bytes / 1e6:,.0f} MB, scratch {cost.scratch_bytes / 1e6:,.0f} MB, "
            f"memory about {cost.memory_bytes / 1e9:.1f} GB"
        )


def _passes(cost: Cost) -> str:
    tokens = {name.removesuffix("_tokens"): count for name, count in cost if name.endswith("_tokens")}
    return ", ".join(f"{count:,} {name}" for name, count in tokens.items() if count or name == "matrix")


def duration(seconds: float) -> str:
    """Of an estimate: "40 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
