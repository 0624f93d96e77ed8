"""`cogen fuse --strategy route`, and what `cogen plan`, `chat` and `eval` do with a route."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out

if TYPE_CHECKING:
    from cogen.evals import BoundSuite, SuiteResult
    from cogen.fusion.recipe import FuseRecipe
    from cogen.fusion.route.measure import Confusion, Routed
    from cogen.fusion.route.plan import RoutePlan
    from cogen.fusion.route.router import RoutingDecision
    from cogen.host import Host


def show_plan(host: Host, recipe: FuseRecipe) -> None:
    """Say what :func:`run` would do with the same wishes, and what it costs. Nothing is built."""
    from cogen.fusion.route.plan import plan_route

    plan, _ = plan_route(host, recipe, talk=out.status)
    _show(plan)
    out.result(plan.model_dump(mode="json"))


def run(host: Host, recipe: FuseRecipe, output: Path) -> None:
    """Write a route into ``output`` and measure it.

    :raises UsageError, CompatibilityError: a wish that a route cannot grant, or a folder that is not ours.
    """
    from cogen.cli.progress import PluginProgress
    from cogen.fusion.route.plan import plan_route
    from cogen.merging.output_folder import check_output_folder
    from cogen.runs.route import build_route

    check_output_folder(output)
    start = time.monotonic()
    plan, inputs = plan_route(host, recipe, talk=out.status)
    _show(plan)
    with out.progress(plan.cost.forward_tokens or None, "routing", unit="tokens") as bar:
        outcome = build_route(plan, inputs, output, PluginProgress(bar, host, "fuse"))
    if outcome.matrix is not None and outcome.routed is not None:
        from cogen.cli.matrix import show_matrix

        show_matrix(outcome.matrix)
        show_routed(outcome.routed)
    out.success(f"wrote {output}, which is no checkpoint; ask its experts: cogen chat {output}")
    out.result(_result(output, plan, outcome, round(time.monotonic() - start, 1)))


def _show(plan: RoutePlan) -> None:
    rows = [
        {
            "expert": e.id,
            "licence": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in plan.experts
    ]
    out.table(rows, title="route: the experts stay separate, a query goes to one of them")
    rest = f"the rest to {plan.fallback.name}" if plan.fallback else "no base for the rest: they do not share one"
    out.text(f"by sentence embedding ({plan.embedder.source}); {rest}")
    if plan.level != "none":
        cost = plan.cost
        ensemble = f", {cost.ensemble_tokens:,} ensemble" if plan.ensemble else "; no ensemble: the tokenizers differ"
        out.text(
            f"evaluation: level {plan.level}, {len(plan.suites)} suites, {cost.forward_tokens:,} forward tokens "
            f"({cost.matrix_tokens:,} matrix{ensemble}) in {plan.eval_dtype}"
        )
    out.text("no weights are written, and every expert stays under its own licence")
    for note in plan.notes:
        out.warn(f"{note.source}: {note.message}")


def _result(output: Path, plan: RoutePlan, outcome: Any, seconds: float) -> dict[str, Any]:
    from cogen.cli.fuse import matrix_json
    from cogen.evals.matrix import BASE

    found: dict[str, Any] = {
        "strategy": plan.strategy,
        "folder": str(output),
        "experts": [expert.id for expert in plan.experts],
        "fallback": plan.fallback.name if plan.fallback else None,
        "manifest": outcome.manifest.model_dump(mode="json"),
        "seconds": seconds,
        "matrix": None,
    }
    if outcome.matrix is not None:
        found["matrix"] = matrix_json(outcome.matrix)
        gains = outcome.matrix.gains() if BASE in outcome.matrix.rows else {}
        found["gains"] = {row: {name: vars(gain) for name, gain in cells.items()} for row, cells in gains.items()}
        found |= routed_json(outcome.routed)
    return found


def routed_json(routed: Routed) -> dict[str, Any]:
    """The same figures as :func:`show_routed`."""
    right, every = routed.right
    return {"routed": routed.confusion, "to_own_expert": right, "of_experts_documents": every}


def show_routed(routed: Routed) -> None:
    """How many documents of each suite went to which model."""
    confusion: Confusion = routed.confusion
    names = sorted({name for found in confusion.values() for name in found}, key=lambda name: (name != "base", name))
    columns = ["suite", *(Column(name, justify="right") for name in names)]
    rows = [[column, *(found.get(name, 0) for name in names)] for column, found in confusion.items()]
    out.table(rows, columns, title="documents by the model that they were routed to")
    right, every = routed.right
    if every:
        out.text(f"{right} of {every} documents of experts' suites went to the suite's own expert")


# ---- a folder that is there --------------------------------------------------------------------------


def measure_folder(
    host: Host, folder: Path, suites: list[BoundSuite], options: dict[str, Any]
) -> tuple[list[SuiteResult], Routed]:
    """The row "route" on these suites, for `cogen eval`; ``options`` as for ``run_suites``.

    :raises PlanError: an installed expert is no longer that of the route.
    """
    from cogen.evals import count_tokens
    from cogen.fusion.route import check_unmoved, open_members, read_route
    from cogen.fusion.route.measure import measure_routed, route_documents
    from cogen.fusion.route.plan import chooser
    from cogen.runs.route import open_router

    manifest = read_route(folder)
    experts = check_unmoved(host, manifest)
    router = open_router(folder, manifest, out.status)
    members = open_members(host, list(experts.values()), manifest.fallback, out.status)
    tokenizer, _ = chooser(members)
    part, level = options["split"], options["level"]
    out.status("routing the documents")
    routed = route_documents(router, suites, tokenizer, part, level)
    tokens = count_tokens(tokenizer, suites, part, level)
    total = sum(
        tokens[one.bound.owner, one.bound.suite.id] * len({*routed.names[one.column]}) for one in routed.documents
    )
    with out.progress(total, f"measuring {folder}", unit="tokens") as bar:
        results = measure_routed(
            members,
            routed,
            part=part,
            level=level,
            settings=options["settings"],
            progress=bar,
            use_cache=options["use_cache"],
        )
    return results, routed


def chooser_of(host: Host, folder: Path) -> tuple[Any, str]:
    """The tokenizer that chooses a route's documents at the level quick, and its digest."""
    from cogen.fusion.route import check_unmoved, open_members, read_route
    from cogen.fusion.route.plan import chooser

    manifest = read_route(folder)
    experts = check_unmoved(host, manifest)
    first = [] if manifest.fallback is not None else [experts[min(experts)]]
    return chooser(open_members(host, first, manifest.fallback, out.status))


class Conversation:
    """A route that answers: every question goes to one expert, and one expert is in memory.

    :raises SpecError: the folder holds no readable route.
    :raises PlanError: an installed expert is no longer that of the route.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        from cogen.evals.matrix import BASE
        from cogen.fusion.route import check_unmoved, read_route
        from cogen.fusion.route.members import OneAtATime, open_base, open_expert
        from cogen.runs.route import open_router

        manifest = read_route(folder)
        members: dict[str, Any] = {
            id: functools.partial(open_expert, host, expert, out.status)
            for id, expert in check_unmoved(host, manifest).items()
        }
        if manifest.fallback is not None:
            members[BASE] = functools.partial(open_base, manifest.fallback, out.status)
        self._router = open_router(folder, manifest, out.status)
        self._models: OneAtATime = OneAtATime(members, "bfloat16")

    def answerer(self, question: str) -> tuple[RoutingDecision, Any, Any]:
        """(choice, model, tokenizer) of one question; says on stderr who answers, and why."""
        (choice,) = self._router.choose([question])
        out.status(why(choice))
        return choice, *self._models.get(choice.expert)


def why(choice: RoutingDecision) -> str:
    """ "power answers: it is 0.050 nearer to the question than general text is; next energy (-0.012)": no stop."""
    from cogen.evals.matrix import BASE

    (first, best), *others = choice.ranking
    others = [(id, score) for id, score in others if id != BASE]
    if first == BASE:
        said = f"{first} answers: the question is nearer to general text than to any expert"
    else:
        side = f"{best:.3f} nearer to" if best >= 0 else f"{-best:.3f} farther from"
        said = f"{first} answers: it is {side} the question than general text is"
    return f"{said}; next {others[0][0]} ({others[0][1]:+.3f})" if others else said
