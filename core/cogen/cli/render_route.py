"""The plan and the result of a route on a terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out

if TYPE_CHECKING:
    from cogen.api.composite import Composite
    from cogen.fusion.route.measure import Confusion, Routed
    from cogen.fusion.route.plan import RoutePlan


def show_plan(plan: RoutePlan) -> None:
    """Who can answer, who answers the rest, and what measuring takes."""
    rows = [
        {
            "expert": e.id,
            "license": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in plan.experts
    ]
    out.table(rows, title="route: the experts stay separate, each query goes to one of them")
    rest = f"the rest to {plan.fallback.name}" if plan.fallback else "no base for the rest: they do not share one"
    out.text(f"by sentence embedding ({plan.embedder.source}); {rest}")
    if plan.level != "none":
        cost = plan.cost
        ensemble = f", {cost.ensemble_tokens:,} ensemble" if plan.ensemble else "; no ensemble: the tokenizers differ"
        out.text(
            f"evaluation: level {plan.level}, {len(plan.suites)} suites, {cost.forward_tokens:,} forward tokens "
            f"({cost.matrix_tokens:,} matrix{ensemble}) in {plan.eval_dtype}"
        )
    out.text("no weights are written, and every expert stays under its own license")
    for note in plan.notes:
        out.warn(f"{note.source}: {note.message}")


def show_route(composite: Composite) -> None:
    """Matrix, routing, the last line, and the JSON."""
    from cogen.cli.render import show_matrix

    assert composite.outcome is not None
    if composite.outcome.matrix is not None:
        show_matrix(composite.outcome.matrix)
        show_routed(composite.outcome.details.routed)
    folder = composite.folder
    out.success(f"wrote {folder}, a route, which is not a checkpoint; ask its experts: cogen chat {folder}")
    out.result(_json(composite))


def _json(composite: Composite) -> dict[str, Any]:
    from cogen.cli.render import matrix_json
    from cogen.evals.matrix import BASE

    outcome: Any = composite.outcome
    plan, matrix = outcome.plan, outcome.matrix
    found: dict[str, Any] = {
        "strategy": plan.strategy,
        "folder": str(composite.folder),
        "experts": [expert.id for expert in plan.experts],
        "fallback": plan.fallback.name if plan.fallback else None,
        "manifest": outcome.details.manifest.model_dump(mode="json"),
        "seconds": round(sum(outcome.seconds.values()), 1),
        "matrix": None,
    }
    if matrix is not None:
        gains = matrix.gains() if BASE in matrix.rows else {}
        found["matrix"] = matrix_json(matrix)
        found["gains"] = {row: {name: vars(gain) for name, gain in cells.items()} for row, cells in gains.items()}
        found |= routed_json(outcome.details.routed)
    return found


def routed_json(routed: Routed) -> dict[str, Any]:
    """The same figures as :func:`show_routed`."""
    right, every = routed.right
    return {"routed": routed.confusion, "to_own_expert": right, "of_experts_documents": every}


def show_routed(routed: Routed) -> None:
    """How many documents of each suite went to which model."""
    confusion: Confusion = routed.confusion
    names = sorted({name for found in confusion.values() for name in found}, key=lambda name: (name != "base", name))
    columns: list[str | Column] = ["suite", *(Column(name, justify="right") for name in names)]
    rows = [[column, *(found.get(name, 0) for name in names)] for column, found in confusion.items()]
    out.table(rows, columns, title="documents by the model that they were routed to")
    right, every = routed.right
    if every:
        out.text(f"{right} of {every} documents of experts' suites went to the suite's own expert")
