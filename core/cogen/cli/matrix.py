"""The matrix on a terminal."""

from __future__ import annotations

from typing import Any

from cogen.cli.output import Column, out


def show_matrix(matrix: Any) -> None:
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
            cell = matrix.get(row, name)
            against = gains.get(row, {}).get(name)
            change = "" if against is None else f" {_change(against)}"
            cells[name] = "" if cell is None else f"{cell.value:.3f}{change}"
        rows.append(cells)
    counts = ", ".join(str(n) for n in sorted({cell.n for cells in matrix.cells.values() for cell in cells.values()}))
    out.table(
        rows,
        columns,
        title=f"bits per byte on {matrix.split} splits, level {matrix.level}; lower is better; n = {counts} documents",
    )


def _change(against: Any) -> str:
    return f"{against.ratio - 1:+.1%}" if against.ratio is not None else f"{against.difference:+.3f}"
