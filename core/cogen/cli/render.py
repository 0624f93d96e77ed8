"""Plans, composites and their matrix on a terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out

if TYPE_CHECKING:
    from cogen.api.composite import Composite
    from cogen.artifacts.lock import Lock
    from cogen.evals import Comparison, Matrix
    from cogen.fusion.moe.insight import Insight
    from cogen.fusion.plan import Plan
    from cogen.fusion.route.plan import RoutePlan


def show_plan(plan: Plan | RoutePlan, replay: Lock | None = None) -> None:
    """The plan for people; with a lock, as it will be replayed."""
    from cogen.cli import render_distill, render_plan, render_route

    shows: dict[str, Any] = {"distill": render_distill.show_plan, "route": render_route.show_plan}
    if plan.strategy in shows:
        shows[plan.strategy](plan)
    else:
        render_plan.show_plan(plan, replay)


def plan_json(plan: Plan | RoutePlan) -> dict[str, Any]:
    """The plan's fields, and its digest where it has one."""
    digest = getattr(plan, "digest", None)
    fields: dict[str, Any] = plan.model_dump(mode="json")
    return fields | ({"digest": digest} if digest else {})


def show_composite(composite: Composite) -> None:
    """What a fusion gave: tables, figures, the last line, and the JSON."""
    if composite.strategy == "route":
        from cogen.cli import render_route

        render_route.show_route(composite)
        return
    from cogen.artifacts import choice, descriptions
    from cogen.artifacts.summary import against_control

    outcome, plan = _fused(composite)
    _show_search(outcome, plan)
    if outcome.matrix is not None:
        show_matrix(outcome.matrix)
        if composite.strategy == "distill":
            out.text(against_control(outcome.matrix) or "")
        else:
            _show_gains(outcome.matrix)
    if outcome.details is not None:
        _show_usage(outcome.details)
    out.status(", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items()))
    built = {
        "moe": lambda: descriptions.mixture(plan),
        "distill": lambda: plan.method,
    }.get(composite.strategy, lambda: choice.settings(plan, outcome.scale, outcome.parameters))()
    out.success(f"wrote {composite.folder} ({built}); talk to it: cogen chat {composite.folder}")
    if composite.report is not None:
        out.text(f"report: {composite.report.resolve()}")
    out.result(composite_json(composite))


def _fused(composite: Composite) -> tuple[Any, Any]:
    assert composite.outcome is not None
    return composite.outcome, composite.outcome.plan


def _show_search(outcome: Any, plan: Any) -> None:
    from cogen.artifacts import choice

    if not outcome.trials:
        return
    heads = ["candidate", *map(choice.label, choice.columns(outcome.trials)), "mean bits per byte (log mean)", ""]
    rows = [
        [row.number, *row.values, row.mean and f"{row.mean:.4f}", "chosen" if row.chosen else row.failure]
        for row in choice.candidates(outcome.trials, outcome.scale, outcome.parameters)
    ]
    out.table(rows, heads, title="candidates, on the dev splits")
    out.text(choice.sentence(plan, outcome.scale, outcome.parameters, outcome.trials) or "")


def _show_gains(matrix: Matrix) -> None:
    from cogen.artifacts.summary import forgetting, verdict

    gains = matrix.gains()
    out.text(verdict(matrix, gains))
    if general := forgetting(matrix, gains):
        out.text(general)


def _show_usage(insight: Insight) -> None:
    """How much each expert of a mixture contributes, and what is lost without it."""
    from cogen.fusion.moe.insight import mean_weights

    rows: list[dict[str, Any]] = [
        {"text": used.column, **{id: f"{w:.0%}" for id, w in zip(insight.slots, mean_weights(used), strict=True)}}
        for used in insight.usage
    ]
    out.table(rows, title="expert usage: share of each expert in the output, mean over layers")
    if insight.contributions is not None:
        gains = insight.contributions.gains("composite")
        rows = [
            {"": row, **{column: f"{-100 * gain.gain:+.1f} %" for column, gain in found.items()}}
            for row, found in gains.items()
        ]
        out.table(rows, title="ablation: change of bits per byte when an expert is left out, level quick")


def composite_json(composite: Composite) -> dict[str, Any]:
    """The same figures as the tables and the sentences below them."""
    from cogen.artifacts.summary import against_control, domains, verdict

    outcome, plan = _fused(composite)
    matrix = outcome.matrix
    found: dict[str, Any] = {
        "folder": str(composite.folder),
        "report": str(composite.folder / "report.html"),
        "plan_digest": plan.digest,
        "weights_digest": outcome.lock.weights_digest,
        "scale": outcome.scale,
        "parameters": outcome.parameters,
        "trials": [vars(trial) for trial in outcome.trials],
        "seconds": outcome.seconds,
        "matrix": None,
    }
    if matrix is not None:
        gains = matrix.gains()
        found["matrix"] = matrix_json(matrix)
        found["gains"] = {row: {name: vars(gain) for name, gain in cells.items()} for row, cells in gains.items()}
        found["kept"] = {domain.column: domain.kept for domain in domains(matrix, gains)}
        found["verdict"] = verdict(matrix, gains)
        found["domains"] = [vars(domain) for domain in domains(matrix, gains)]
    found["strategy"] = plan.strategy
    if composite.reused is not None:
        found["reused"] = composite.reused
    if plan.mixture is not None:
        found["mixture"] = plan.mixture.model_dump(mode="json") | {"bytes": plan.cost.output_bytes}
    if plan.distillation is not None:
        found["distillation"] = plan.distillation.model_dump(mode="json")
        if matrix is not None:
            found["against_control"] = against_control(matrix)
    if outcome.details is not None:
        found |= _usage_json(outcome.details)
    return found


def _usage_json(insight: Insight) -> dict[str, Any]:
    """``expert_usage`` and ``ablation``; ``insight``, their former name, stays beside them."""
    usage = [vars(used) for used in insight.usage]
    ablation = insight.contributions and matrix_json(insight.contributions)
    return {
        "expert_usage": {"experts": insight.slots, "texts": usage},
        "ablation": ablation,
        "insight": {"slots": insight.slots, "usage": usage, "contributions": ablation},
    }


def matrix_json(matrix: Matrix) -> dict[str, dict[str, Any]]:
    """row → column → metric, value, low, high, n, tokens."""
    names = ("metric", "value", "low", "high", "n", "tokens")
    return {
        row: {column: {name: getattr(cell, name) for name in names} for column, cell in cells.items()}
        for row, cells in matrix.cells.items()
    }


def show_matrix(matrix: Matrix) -> None:
    """Rows are models, columns suites; behind each figure its change against the base."""
    gains = matrix.gains("base") if "base" in matrix.rows else {}
    columns = [Column("model", "model")]
    columns += [
        Column(name, name.removesuffix("/heldout").removesuffix("/general"), justify="right") for name in matrix.columns
    ]
    rows = []
    for row in matrix.rows:
        cells = {"model": row}
        for name in matrix.columns:
            cell, against = matrix.get(row, name), gains.get(row, {}).get(name)
            cells[name] = "" if cell is None else f"{cell.value:.3f}{_change(against)}"
        rows.append(cells)
    counts = ", ".join(str(n) for n in sorted({cell.n for cells in matrix.cells.values() for cell in cells.values()}))
    out.table(
        rows,
        columns,
        title=f"bits per byte, {matrix.part} split, level {matrix.level}; lower is better; n = {counts} documents",
    )


def _change(against: Comparison | None) -> str:
    if against is None:
        return ""
    return f" {against.ratio - 1:+.1%}" if against.ratio is not None else f" {against.difference:+.3f}"
