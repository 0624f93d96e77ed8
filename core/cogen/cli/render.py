"""Composites, their matrix and a strategy's tables on a terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out

if TYPE_CHECKING:
    from cogen.api.fusion import Composite
    from cogen.evals import Comparison, Matrix
    from cogen.fusion.results import Table
    from cogen.fusion.strategy import Description
    from cogen.host import Host
    from cogen.runs.outcome import Outcome


def show_composite(composite: Composite, host: Host | None = None) -> None:
    """What a fusion gave: tables, figures, the last line, and the JSON.

    :param host: knows the strategies of plugins.
    """
    from cogen.artifacts.private import REQUEST
    from cogen.artifacts.summary import kinds
    from cogen.fusion.merge.search import ChosenSettings
    from cogen.fusion.strategies import strategy_of

    outcome = composite.outcome
    assert outcome is not None
    strategy = strategy_of(outcome.plan, host)
    settings = ChosenSettings(outcome.scale, outcome.parameters)
    description = strategy.describe(outcome.plan, settings, len(outcome.trials))
    _show_search(outcome)
    if outcome.matrix is not None:
        show_matrix(outcome.matrix)
        _show_gains(outcome)
        for column, row, text in kinds(outcome.matrix):
            out.text(f"{row} on {column}: {text}")
    for table in strategy.tables(outcome.details):
        show_table(table)
    out.status(", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items()))
    folder = composite.folder
    out.success(f"wrote {folder} ({description.summary}); {description.use}: cogen chat {folder}")
    if composite.report is not None:
        out.text(f"report: {composite.report.resolve()}")
    reused = {} if composite.reused is None else {"reused": composite.reused}
    private = _private(outcome, host)
    if private:
        out.text(
            f"private suites of {', '.join(sorted({one['expert'] for one in private}))}, which their publishers can "
            f"measure: {folder / REQUEST}"
        )
    found = outcome_json(outcome, description) | strategy.data(outcome.details) | reused
    out.result(found | ({"measured_at_publishers": private} if private else {}))


def _private(outcome: Outcome, host: Host | None) -> list[dict[str, Any]]:
    """Figures of private suites, as the experts' manifests have them: not measured here."""
    from cogen.artifacts.private import private_json
    from cogen.host import Host as AnyHost

    machine = host or AnyHost.discover()
    return private_json([machine.expert(expert.id) for expert in outcome.plan.experts])


def _show_search(outcome: Outcome) -> None:
    from cogen.fusion.merge import choice

    if not outcome.trials:
        return
    heads = ["candidate", *map(choice.label, choice.columns(outcome.trials)), "mean bits per byte (log mean)", ""]
    rows = [
        [row.number, *row.values, row.mean and f"{row.mean:.4f}", "chosen" if row.chosen else row.failure]
        for row in choice.candidates(outcome.trials, outcome.scale, outcome.parameters)
    ]
    out.table(rows, heads, title="candidates, on the dev splits")
    out.text(choice.sentence(outcome.plan, outcome.scale, outcome.parameters, outcome.trials) or "")


def _show_gains(outcome: Outcome) -> None:
    """What was gained and lost against the base, and against a control where one was trained."""
    from cogen.artifacts.summary import BASE, against_control, answering, forgetting, verdict

    matrix = outcome.matrix
    assert matrix is not None
    lines = [against_control(matrix)]
    if BASE in matrix.rows and outcome.lock is not None:
        gains = matrix.gains()
        lines = [verdict(matrix, gains), forgetting(matrix, gains), answering(matrix), *lines]
    for line in filter(None, lines):
        out.text(line)


def show_table(table: Table) -> None:
    """One of a strategy's tables."""
    first, *others = table.rows[0] if table.rows else [""]
    columns = [Column(first, first), *(Column(name, name, justify="right") for name in others)]
    out.table(list(table.rows), columns, title=table.title)
    if table.note:
        out.text(table.note)


def outcome_json(outcome: Outcome, description: Description) -> dict[str, Any]:
    """The same figures as the tables and the sentences below them."""
    from cogen.artifacts.summary import BASE, against_control, domains, verdict
    from cogen.fusion.results import matrix_json

    plan, matrix, lock = outcome.plan, outcome.matrix, outcome.lock
    found: dict[str, Any] = {
        "strategy": plan.strategy,
        "folder": str(outcome.folder),
        "plan_digest": plan.digest,
        "seconds": outcome.seconds,
        "matrix": None if matrix is None else matrix_json(matrix),
        "not_measured": {} if matrix is None else matrix.not_measured,
        **description.data,
    }
    gains = {} if matrix is None or BASE not in matrix.rows else matrix.gains()
    if matrix is not None:
        found["gains"] = {row: {name: vars(gain) for name, gain in cells.items()} for row, cells in gains.items()}
        if control := against_control(matrix):
            found["against_control"] = control
    if lock is not None:
        found |= {
            "report": str(outcome.report),
            "weights_digest": lock.weights_digest,
            "scale": outcome.scale,
            "parameters": outcome.parameters,
            "trials": [vars(trial) for trial in outcome.trials],
        }
        if matrix is not None:
            found["kept"] = {domain.column: domain.kept for domain in domains(matrix, gains)}
            found["verdict"] = verdict(matrix, gains)
            found["domains"] = [vars(domain) for domain in domains(matrix, gains)]
    return found


def show_matrix(matrix: Matrix) -> None:
    """Rows are models, columns suites; behind each figure its change against the base."""
    from cogen.evals.chat import COLUMN
    from cogen.evals.matrix import EMPTY

    gains = matrix.gains("base") if "base" in matrix.rows else {}
    columns = [Column("model", "model")]
    columns += [
        Column(
            name, "chat" if name == COLUMN else name.removesuffix("/heldout").removesuffix("/general"), justify="right"
        )
        for name in matrix.columns
    ]
    rows = []
    for row in matrix.rows:
        cells = {"model": row}
        for name in matrix.columns:
            cell, against = matrix.get(row, name), gains.get(row, {}).get(name)
            cells[name] = EMPTY if cell is None else f"{cell.value:.3f}{_change(against)}"
        rows.append(cells)
    counts = ", ".join(str(n) for n in sorted({cell.n for cells in matrix.cells.values() for cell in cells.values()}))
    out.table(
        rows,
        columns,
        title=f"bits per byte, {matrix.split} split, level {matrix.level}; lower is better; n = {counts} documents"
        + ("; chat: share of well-formed answers" if COLUMN in matrix.columns else ""),
    )
    if matrix.not_measured:
        more = "; --matrix full measures every expert on every suite" if matrix.partial else ""
        out.text(f"{EMPTY}: not measured{more}")


def _change(against: Comparison | None) -> str:
    if against is None:
        return ""
    return f" {against.ratio - 1:+.1%}" if against.ratio is not None else f" {against.difference:+.3f}"
