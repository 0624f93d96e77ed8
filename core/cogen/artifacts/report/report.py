"""``report.html``: one file that explains a composite to somebody who decides, not to somebody who programs.

It loads nothing: styles and drawings are inside, there is no script, and a content security policy forbids the browser
to fetch anything even if a mistake of ours asked for it. The template escapes every value.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.artifacts import choice, summary
from cogen.artifacts import descriptions as words
from cogen.artifacts.origin import data_licenses
from cogen.artifacts.report import charts, mixture_view, search_view, view

if TYPE_CHECKING:
    import jinja2

    from cogen.artifacts.lock import Lock, LockedTrial
    from cogen.evals import Matrix
    from cogen.fusion.merge.measure import Trial
    from cogen.fusion.moe.insight import Insight
    from cogen.fusion.plan import Plan
    from cogen.host import Expert

REPORT_NAME = "report.html"
_TEMPLATE = "report.html.j2"


def write_report(
    path: Path,
    lock: Lock,
    plan: Plan,
    matrix: Matrix | None,
    trials: Sequence[Trial | LockedTrial],
    experts: Sequence[Expert],
    insight: Insight | None = None,
) -> None:
    """Write the report of the composite that ``lock`` describes; whole or not at all.

    :param matrix: ``None`` where nothing was measured: the report then says so.
    :param trials: candidates that were measured; empty where nothing was searched for.
    :param experts: the plan's experts, for their data cards.
    :param insight: of a mixture: who works where.
    """
    from cogen.files import atomic_write

    atomic_write(path, render(lock, plan, matrix, trials, experts, insight).encode())


def render(
    lock: Lock,
    plan: Plan,
    matrix: Matrix | None,
    trials: Sequence[Trial | LockedTrial],
    experts: Sequence[Expert],
    insight: Insight | None = None,
) -> str:
    """The report as HTML text; see :func:`write_report`."""
    gains = _gains(matrix)
    measured = _measured(matrix, plan, gains)
    cards = {expert.id: expert for expert in experts}
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            lock=lock,
            plan=plan,
            matrix=matrix,
            intro=_intro(lock, plan),
            verdict=summary.verdict(matrix, gains),
            forgetting=summary.forgetting(matrix, gains),
            control=summary.against_control(matrix),
            stages=plan.distillation.stages if plan.distillation else (),
            taught=words.distillation(plan) if plan.distillation else "",
            **measured,
            found=choice.sentence(plan, lock.scale, lock.parameters, trials),
            search=search_view.search(lock, plan, trials),
            settings=choice.settings(plan, lock.scale, lock.parameters),
            vocabulary=words.tokenizer(plan),
            lineage=_lineage(lock, plan, measured["domains"]),
            planned=sorted(plan.experts, key=lambda expert: expert.id),
            cards=cards,
            licenses=data_licenses(experts),
            weight_files=sorted(lock.files.items()),
            mixture=mixture_view.mixture(plan, insight),
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    """Templates compile once a process: that takes longer than a report."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": thousands,
        "size": size,
        "duration": duration,
        "percent": summary.percent,
        "share": share,
    }
    return environment


def _gains(matrix: Matrix | None) -> view.Gains:
    """Every row against the base, once: the intervals behind it are the only work in a report."""
    return matrix.gains() if matrix is not None and summary.BASE in matrix.rows else {}


def _measured(matrix: Matrix | None, plan: Plan, gains: view.Gains) -> dict[str, Any]:
    """What only an evaluated composite has; empty values without a matrix."""
    if matrix is None:
        return {
            "heads": [],
            "rows": [],
            "whiskers": [],
            "kept": [],
            "domains": (),
            "average": None,
            "general": None,
            "seconds": 0.0,
            "tokens": 0,
            "cached": 0,
            "cells": 0,
        }
    found = summary.domains(matrix, gains)
    results = [result for cells in matrix.cells.values() for result in cells.values()]
    return {
        "heads": view.heads(matrix, plan),
        "rows": view.rows(matrix, plan, gains),
        "whiskers": view.whisker_charts(matrix, plan, gains),
        "kept": view.kept_bars(found, plan),
        "domains": found,
        "average": summary.kept_on_average(found),
        "general": summary.general_change(matrix, gains),
        "seconds": math.fsum(result.seconds for result in results),
        "tokens": sum(result.tokens for result in results),
        "cached": sum(result.cached for result in results),
        "cells": len(results),
    }


def _intro(lock: Lock, plan: Plan) -> list[str]:
    """What this is, in two sentences; the verdict is the third."""
    count, publishers = len(plan.experts), len({expert.publisher for expert in plan.experts})
    width = 4 if plan.dtype == "float32" else 2
    who = "one publisher" if publishers == 1 else f"{publishers} publishers"
    what = "a domain expert" if count == 1 else f"{count} domain experts"
    how = choice.settings(plan, lock.scale, lock.parameters)
    first = (
        f"This is one language model of about {plan.cost.output_bytes / width / 1e6:,.0f} million parameters, "
        f"made from {what} of {who}."
    )
    if plan.distillation is not None:
        return [first, f"Other models taught it: {words.distillation(plan)}."]
    if plan.mixture is not None:
        return [
            first,
            "CoGen stacked them into a mixture of experts on the model that all of them descend from, "
            f"{plan.base.name}; "
            f"their training data were not needed for it. It has {words.mixture(plan)}.",
        ]
    return [
        first,
        f"CoGen combined their weights with the method {plan.method} ({how}), starting from the model that all of them "
        f"descend from, {plan.base.name}; their training data were not needed for it.",
    ]


def _lineage(lock: Lock, plan: Plan, domains: Sequence[summary.Domain]) -> charts.Lineage:
    found = {domain.owner: domain for domain in domains}

    def lines(expert: Any) -> tuple[str, ...]:
        gain = f", {summary.change(found[expert.id].specialist_gain)}" if expert.id in found else ""
        merged = plan.mixture is None and plan.distillation is None
        weight = f", weight {choice.weight(expert, lock.parameters)}" if merged else ""
        return f"{expert.distribution} {expert.version}", f"{expert.relation}{weight}{gain}"

    return charts.lineage(
        (plan.base.name, ("base", plan.architecture, plan.base.weights_digest[7:23])),
        [(expert.title, lines(expert)) for expert in sorted(plan.experts, key=lambda e: e.id)],
        ("Composite", (*_built(lock, plan), lock.weights_digest[7:23])),
    )


def _built(lock: Lock, plan: Plan) -> tuple[str, str]:
    if plan.mixture is not None:
        return plan.mixture.architecture, f"{len(plan.mixture.slots)} experts, {plan.license}"
    if plan.distillation is not None:
        return f"taught by {plan.method}", plan.license
    return plan.method, f"scale {lock.scale:g}, {plan.license}"


def thousands(value: Any) -> str:
    """12345 → "12,345"; "unknown" stays."""
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def share(value: Any) -> str:
    """0.25 → "25.0 %"; "unknown" stays."""
    return summary.percent(value) if isinstance(value, int | float) else str(value)


def size(value: Any) -> str:
    """Bytes for people, in decimal units."""
    if not isinstance(value, int | float):
        return str(value)
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:,.1f} {unit}"
    return f"{value:,.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
