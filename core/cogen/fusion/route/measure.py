"""A route on suites: which expert gets which documents, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogen.evals import GENERAL, BoundSuite, Matrix, Settings, SuiteResult, run_suites
from cogen.evals.matrix import BASE, suites_for
from cogen.evals.settings import Level, Split
from cogen.fusion.results import Table
from cogen.fusion.route.baselines import ENSEMBLE, ORACLE, POSTERIOR, ROUTE, ensemble_row, oracle_row, route_row
from cogen.fusion.route.documents import Documents, documents_of
from cogen.fusion.route.members import Member
from cogen.fusion.route.plan import RouteInputs, RoutePlan, chooser
from cogen.fusion.route.router import Router
from cogen.reporter import SILENT, Reporter

#: Column → model → number of documents that went there; models without any are left out.
Confusion = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Routed:
    """``names``: column → the model of each document."""

    documents: list[Documents]
    names: dict[str, list[str]]

    @property
    def confusion(self) -> Confusion:
        return {column: {name: names.count(name) for name in sorted({*names})} for column, names in self.names.items()}

    @property
    def right(self) -> tuple[int, int]:
        """(documents of experts' suites that went to the suite's own expert, all of them)."""
        own = [(one.bound.owner, self.names[one.column]) for one in self.documents if one.bound.owner != GENERAL]
        return sum(names.count(owner) for owner, names in own), sum(len(names) for _, names in own)


def route_documents(router: Router, suites: Sequence[BoundSuite], tokenizer: Any, split: Split, level: Level) -> Routed:
    """Ask the router about every document of the suites that ``level`` measures."""
    documents = documents_of(suites, tokenizer, split, level)
    names = {one.column: [choice.expert for choice in router.choose(one.queries)] for one in documents}
    return Routed(documents, names)


def measure_route(
    plan: RoutePlan, inputs: RouteInputs, router: Router, reporter: Reporter = SILENT
) -> tuple[Matrix, Routed]:
    """Rows base (if there is one), every expert, route, the plan's ensemble, oracle; on the test splits.

    Without a full matrix an expert has figures of its own suites, of general text, and of suites of which a document
    was routed to it.
    """
    level: Any = plan.level
    settings = Settings.here(dtype=plan.eval_dtype)
    routed = route_documents(router, inputs.suites, inputs.chooser[0], "test", level)
    rows: dict[str, list[SuiteResult]] = {}
    for name, member in inputs.members.items():
        reporter.describe(name)
        own = suites_for(None if name == BASE else {name}, inputs.suites, plan.matrix)
        suites = [bound for bound in inputs.suites if bound in own or name in routed.names.get(bound.name, ())]
        rows[name] = _run(member, suites, "test", level, settings, inputs.chooser, reporter)
    measured = dict(rows)
    rows[ROUTE] = route_row(routed.documents, routed.names, measured, settings)
    posterior = plan.details.ensemble_weights == "posterior"
    if plan.details.ensemble and (
        found := ensemble_row(inputs.members, routed.documents, measured, settings, reporter, posterior=posterior)
    ):
        rows[POSTERIOR if posterior else ENSEMBLE] = found
    rows[ORACLE] = oracle_row(measured)
    return Matrix.of(rows, [bound.name for bound in inputs.suites]), routed


def measure_routed(
    members: Mapping[str, Member],
    routed: Routed,
    *,
    split: Split,
    level: Level,
    settings: Settings,
    reporter: Reporter = SILENT,
    use_cache: bool = True,
) -> list[SuiteResult]:
    """The row "route" alone: every model runs on those suites only of which it gets a document."""
    rows = {}
    for name, member in members.items():
        own = [one.bound for one in routed.documents if name in routed.names[one.column]]
        rows[name] = _run(member, own, split, level, settings, chooser(members), reporter, use_cache)
    return route_row(routed.documents, routed.names, rows, settings)


def measure_together(
    members: Mapping[str, Member],
    routed: Routed,
    *,
    split: Split,
    level: Level,
    settings: Settings,
    reporter: Reporter = SILENT,
    use_cache: bool = True,
) -> list[SuiteResult]:
    """The row "posterior" alone, of suites in bits per byte: every model runs on all of them."""
    documents = [one for one in routed.documents if one.bound.suite.metric == "bits_per_byte"]
    suites = [one.bound for one in documents]
    rows = {
        name: _run(member, suites, split, level, settings, chooser(members), reporter, use_cache)
        for name, member in members.items()
    }
    return ensemble_row(members, documents, rows, settings, reporter, posterior=True)


def _run(
    member: Member,
    suites: Sequence[BoundSuite],
    split: Split,
    level: Level,
    settings: Settings,
    chosen_by: Any,
    reporter: Reporter,
    use_cache: bool = True,
) -> list[SuiteResult]:
    return run_suites(
        lambda: member.load(settings.dtype),
        member.tokenizer,
        suites,
        model_digest=member.digest,
        tokenizer_digest=member.tokenizer_digest,
        split=split,
        level=level,
        dtype=settings.dtype,
        settings=settings,
        reporter=reporter,
        use_cache=use_cache,
        chooser=chosen_by,
    )


def routed_json(routed: Routed) -> dict[str, Any]:
    """The same figures as :func:`routed_table`."""
    right, every = routed.right
    return {"routed": routed.confusion, "to_own_expert": right, "of_experts_documents": every}


def routed_table(routed: Routed) -> Table:
    """How many documents of each suite went to which model."""
    confusion = routed.confusion
    names = sorted({name for found in confusion.values() for name in found}, key=lambda name: (name != BASE, name))
    rows = [
        {"suite": column} | {name: str(found.get(name, 0)) for name in names} for column, found in confusion.items()
    ]
    right, every = routed.right
    note = f"{right} of {every} documents of experts' suites went to the suite's own expert" if every else ""
    return Table("documents by the model that they were routed to", rows, note)
