"""The plan of a merge or of a mixture on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.fusion.plan import Cost, Plan


def show_plan(plan: Plan, replay: Lock | None = None) -> None:
    """The plan for people; with a lock, as it will be replayed."""
    from cogen.artifacts import choice, descriptions

    locked = replay.parameters if replay else {}
    rows = [
        {
            "expert": e.id,
            "weight": choice.weight(e, locked),
            "relation": e.relation,
            "license": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in sorted(plan.experts, key=lambda e: e.id)
    ]
    how = plan.method if plan.mixture is None else f"{plan.mixture.routing} routing"
    out.table(rows, title=f"{plan.strategy} by {how} onto {plan.base.name}")
    out.text(f"why: {plan.why}")
    if plan.mixture is not None:
        out.text(descriptions.mixture(plan))
        if plan.mixture.merged:
            out.text(f"{plan.mixture.merged} tensors outside feed-forward blocks are merged by {plan.method}")
        if not plan.mixture.exact:
            out.text("removing an expert later rebuilds the mixture")
    else:
        for line in choice.planned(plan) if replay is None else [choice.settings(plan, replay.scale, locked)]:
            out.text(line)
        out.text(f"{plan.changed_tensors} of {plan.tensors} tensors are merged, the others copied")
    out.text(descriptions.tokenizer(plan))
    for note in plan.vocabulary.notes if plan.vocabulary else ():
        out.text(note)
    out.text(f"license of the composite: {plan.license}")
    _show_cost(plan)
    for warning in plan.notes:
        out.warn(f"{warning.source}: {warning.message}")


def _show_cost(plan: Plan) -> None:
    cost = plan.cost
    if plan.level != "none":
        out.text(
            f"evaluation: level {plan.level}, {len(plan.suites)} suites, {cost.forward_tokens:,} forward tokens "
            f"({_passes(cost)}) in {plan.eval_dtype}"
        )
    out.text(
        f"writes {cost.output_bytes / 1e6:,.0f} MB, scratch {cost.scratch_bytes / 1e6:,.0f} MB, "
        f"memory about {cost.memory_bytes / 1e9:.1f} GB"
    )


def _passes(cost: Cost) -> str:
    tokens = {
        "search": cost.search_tokens,
        "routing": cost.routing_tokens,
        "matrix": cost.matrix_tokens,
        "insight": cost.insight_tokens,
    }
    return ", ".join(f"{count:,} {name}" for name, count in tokens.items() if count or name == "matrix")
