"""What a strategy shows of a run beside the matrix: tables for people, data for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.evals import Matrix


@dataclass(frozen=True)
class Table:
    """``rows`` are cells by column; all have the same columns. ``note``: a line below."""

    title: str
    rows: Sequence[dict[str, str]]
    note: str = ""


def matrix_json(matrix: Matrix) -> dict[str, dict[str, Any]]:
    """row → column → value, low, high, n."""
    names = ("metric", "value", "low", "high", "n", "tokens")
    return {
        row: {column: {name: getattr(cell, name) for name in names} for column, cell in cells.items()}
        for row, cells in matrix.cells.items()
    }
