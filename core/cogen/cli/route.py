"""`cogen fuse --strategy route`, and what `cogen plan`, `chat` and `eval` do with a route."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out
from cogen.cli.progress import Messages, PluginProgress

if TYPE_CHECKING:
    from cogen.evals import BoundSuite, SuiteResult
    from cogen.fusion.route.measure import Routed
    from cogen.fusion.route.router import RoutingDecision
    from cogen.host import Host


def show_routed(routed: Routed) -> None:
    """How many documents of each suite went to which model."""
    from cogen.fusion.route.measure import routed_table

    show_table(routed_table(routed))


def show_table(table: Any) -> None:
    """One of a strategy's tables."""
    first, *others = table.rows[0] if table.rows else [""]
    columns = [Column(first, first), *(Column(name, name, justify="right") for name in others)]
    out.table(list(table.rows), columns, title=table.title)
    if table.note:
        out.text(table.note)


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
    from cogen.fusion.route.router import open_router

    manifest = read_route(folder)
    experts = check_unmoved(host, manifest)
    router = open_router(folder, manifest, Messages())
    members = open_members(host, list(experts.values()), manifest.fallback, Messages())
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
            reporter=PluginProgress(bar, host, "eval"),
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
    return chooser(open_members(host, first, manifest.fallback, Messages()))


class Conversation:
    """A route that answers: every question goes to one expert, and one expert is in memory.

    :raises SpecError: the folder holds no readable route.
    :raises PlanError: an installed expert is no longer that of the route.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        from cogen.evals.matrix import BASE
        from cogen.fusion.route import check_unmoved, read_route
        from cogen.fusion.route.members import OneAtATime, open_base, open_expert
        from cogen.fusion.route.router import open_router

        manifest = read_route(folder)
        members: dict[str, Any] = {
            id: functools.partial(open_expert, host, expert, Messages())
            for id, expert in check_unmoved(host, manifest).items()
        }
        if manifest.fallback is not None:
            members[BASE] = functools.partial(open_base, manifest.fallback, Messages())
        self._router = open_router(folder, manifest, Messages())
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
