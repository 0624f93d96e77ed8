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

from cogen.artifacts import summary
from cogen.artifacts.card import describe
from cogen.artifacts.origin import data_licenses
from cogen.artifacts.private import html_section
from cogen.artifacts.report import charts, mixture_view, search_view, view
from cogen.fusion.merge import choice
from cogen.fusion.merge.tokenizer_text import tokenizer_text

if TYPE_CHECKING:
    import jinja2

    from cogen.artifacts.lock import Lock, LockedTrial
    from cogen.evals import Matrix
    from cogen.fusion.merge.measure import Trial
    from cogen.fusion.moe.insight import Insight
    from cogen.fusion.plan import Plan
    from cogen.fusion.strategy import Description
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
    description: Description | None = None,
) -> None:
    """Write the report of the composite that ``lock`` describes; whole or not at all.

    :param matrix: ``None`` where nothing was measured: the report then says so.
    :param trials: candidates that were measured; empty where nothing was searched for.
    :param experts: the plan's experts, for their data cards.
    :param insight: of a mixture of experts: who works where.
    :param description: of the plan, by its strategy; None: its strategy is a built-in one.
    """
    from cogen.files import atomic_write

    atomic_write(path, render(lock, plan, matrix, trials, experts, insight, description).encode())


def render(
    lock: Lock,
    plan: Plan,
    matrix: Matrix | None,
    trials: Sequence[Trial | LockedTrial],
    experts: Sequence[Expert],
    insight: Insight | None = None,
    description: Description | None = None,
) -> str:
    """The report as HTML text; see :func:`write_report`."""
    words = description or describe(lock)
    gains = _gains(matrix)
    names = view.labels(plan, words)
    measured = _measured(matrix, names, gains)
    cards = {expert.id: expert for expert in experts}
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            lock=lock,
            plan=plan,
            matrix=matrix,
            words=words,
            intro=_intro(plan, words),
            verdict=summary.verdict(matrix, gains),
            forgetting=summary.forgetting(matrix, gains),
            answering=summary.answering(matrix),
            control=summary.against_control(matrix),
            stages=words.steps,
            taught=words.summary,
            **measured,
            found=choice.sentence(plan, lock.scale, lock.parameters, trials),
            search=search_view.search(lock, plan, trials),
            settings=words.summary,
            vocabulary=tokenizer_text(plan),
            lineage=_lineage(lock, plan, words, measured["domains"]),
            planned=sorted(plan.experts, key=lambda expert: expert.id),
            cards=cards,
            licenses=data_licenses(experts),
            publishers=html_section(experts),
            weight_files=sorted(lock.files.items()),
            mixture=mixture_view.mixture(words.facts, names.titles, insight),
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


def _measured(matrix: Matrix | None, names: view.Labels, gains: view.Gains) -> dict[str, Any]:
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
            "partial": False,
            "by_kind": [],
            "seconds": 0.0,
            "tokens": 0,
            "cached": 0,
            "cells": 0,
        }
    found = summary.domains(matrix, gains)
    results = [result for cells in matrix.cells.values() for result in cells.values()]
    return {
        "heads": view.heads(matrix, names),
        "rows": view.rows(matrix, names, gains),
        "whiskers": view.whisker_charts(matrix, names, gains),
        "kept": view.kept_bars(found, names),
        "domains": found,
        "average": summary.kept_on_average(found),
        "general": summary.general_change(matrix, gains),
        "partial": matrix.partial,
        "by_kind": [
            (names.titles.get(column.partition("/")[0], column), names.suites.get(column, column), row, text)
            for column, key, text in summary.kinds(matrix)
            for row in (names.titles.get(key, key),)
        ],
        "seconds": math.fsum(result.seconds for result in results),
        "tokens": sum(result.tokens for result in results),
        "cached": sum(result.cached for result in results),
        "cells": len(results),
    }


def _intro(plan: Plan, words: Description) -> list[str]:
    """What this is, in two sentences; the verdict is the third."""
    publishers = len({expert.publisher for expert in plan.experts})
    width = 4 if plan.dtype == "float32" else 2
    who = "one publisher" if publishers == 1 else f"{publishers} publishers"
    what = "a domain expert" if len(plan.experts) == 1 else f"{len(plan.experts)} domain experts"
    first = (
        f"This is one language model of about {plan.cost.output_bytes / width / 1e6:,.0f} million parameters, "
        f"made from {what} of {who}."
    )
    return [first, words.intro]


def _lineage(lock: Lock, plan: Plan, words: Description, domains: Sequence[summary.Domain]) -> charts.Lineage:
    found = {domain.owner: domain for domain in domains}

    def lines(expert: Any) -> tuple[str, ...]:
        gain = f", {summary.change(found[expert.id].specialist_gain)}" if expert.id in found else ""
        weight = f", weight {choice.weight(expert, lock.parameters)}" if words.weighted else ""
        return f"{expert.distribution} {expert.version}", f"{expert.relation}{weight}{gain}"

    return charts.lineage(
        (plan.base.name, ("base", plan.architecture, plan.base.weights_digest[7:23])),
        [(expert.title, lines(expert)) for expert in sorted(plan.experts, key=lambda e: e.id)],
        ("Composite", (*words.built, lock.weights_digest[7:23])),
    )


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
