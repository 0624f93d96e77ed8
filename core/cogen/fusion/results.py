"""What a strategy shows of a run beside the matrix: tables for people, data for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.evals import Matrix, SuiteResult


@dataclass(frozen=True)
class Table:
    """``rows`` are cells by column; all have the same columns. ``note``: a line below."""

    title: str
    rows: Sequence[dict[str, str]]
    note: str = ""


def matrix_json(matrix: Matrix) -> dict[str, dict[str, Any]]:
    """row → column → value, low, high, n, and of statement suites the same by kind."""
    names = ("metric", "value", "low", "high", "n", "tokens")

    def figures(cell: SuiteResult) -> dict[str, Any]:
        found = {name: getattr(cell, name) for name in names}
        return found | ({"by_kind": {kind: vars(own) for kind, own in cell.by_kind.items()}} if cell.kinds else {})

    return {row: {column: figures(cell) for column, cell in cells.items()} for row, cells in matrix.cells.items()}
