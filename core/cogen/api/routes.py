"""A route that lies in a folder, measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.api.results import MeasureOptions, ModelResults
from cogen.reporter import Reporter, begin

if TYPE_CHECKING:
    from cogen.evals import BoundSuite
    from cogen.host import Host


def measure_folder(
    host: Host, folder: Path, suites: list[BoundSuite], options: MeasureOptions, reporter: Reporter
) -> ModelResults:
    """The row "route" on these suites; of a route whose experts answer together, the row "posterior".

    The latter has figures of suites in bits per byte only.

    :raises PlanError: an installed expert is no longer that of the route.
    """
    from cogen.evals import count_tokens
    from cogen.fusion.route import check_unmoved, open_members, read_route
    from cogen.fusion.route.measure import measure_routed, measure_together, route_documents
    from cogen.fusion.route.plan import chooser
    from cogen.fusion.route.router import open_router

    manifest = read_route(folder)
    experts = check_unmoved(host, manifest)
    router = open_router(folder, manifest, reporter)
    members = open_members(host, list(experts.values()), manifest.fallback, reporter)
    tokenizer, _ = chooser(members)
    split, level = options["split"], options["level"]
    reporter.note("routing the documents")
    routed = route_documents(router, suites, tokenizer, split, level)
    if warning := router.unread([text for one in routed.documents for text in one.queries]):
        reporter.note(warning)
    tokens = count_tokens(tokenizer, suites, split, level)
    total = sum(
        tokens[one.bound.owner, one.bound.suite.id]
        * (len({*routed.names[one.column]}) if manifest.ensemble is None else 2 * len(members))
        for one in routed.documents
    )
    begin(reporter, f"measuring {folder}", total, "tokens")
    measured = measure_routed if manifest.ensemble is None else measure_together
    results = measured(
        members,
        routed,
        split=split,
        level=level,
        settings=options["settings"],
        reporter=reporter,
        use_cache=not options["fresh"],
    )
    return ModelResults(None, tuple(results), routed)


def chooser_of(host: Host, folder: Path, reporter: Reporter) -> tuple[Any, str]:
    """The tokenizer that chooses a route's documents at the level quick, and its digest."""
    from cogen.fusion.route import check_unmoved, open_members, read_route
    from cogen.fusion.route.plan import chooser

    manifest = read_route(folder)
    experts = check_unmoved(host, manifest)
    first = [] if manifest.fallback is not None else [experts[min(experts)]]
    found: tuple[Any, str] = chooser(open_members(host, first, manifest.fallback, reporter))
    return found
