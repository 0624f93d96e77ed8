"""The matrix: rows are models (base, experts, composite), columns are suites."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar

from cogen.errors import EvalError
from cogen.evals.bound import GENERAL
from cogen.evals.results import SuiteResult
from cogen.evals.statistics import Comparison, compare

BASE = "base"
#: What an expert is measured on: its own suites and general text, whose cost grows linearly with the experts, or all.
MatrixKind = Literal["own", "full"]
#: How a cell without a figure is shown.
EMPTY = "–"


class _Owned(Protocol):
    @property
    def owner(self) -> str: ...


S = TypeVar("S", bound=_Owned)


def suites_for(owners: Collection[str] | None, suites: Sequence[S], kind: MatrixKind) -> list[S]:
    """The suites that a row is measured on.

    :param owners: experts that the row stands for; None: base, composite and whatever else is measured on all.
    """
    if owners is None or kind == "full":
        return list(suites)
    return [suite for suite in suites if suite.owner in owners or suite.owner == GENERAL]


@dataclass(frozen=True)
class Matrix:
    """``cells[row][column]``; a cell may be missing. All cells are of one split and one level."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[str, Mapping[str, SuiteResult]]
    split: str
    level: str

    @classmethod
    def of(cls, results: Mapping[str, Iterable[SuiteResult]], columns: Iterable[str] = ()) -> Self:
        """From the results of each model, in the order of the rows.

        :param columns: their order, as far as they were measured; the others follow as they first appear.

        :raises EvalError: results of different splits or levels, or a column whose metric is not the same in all rows.
        """
        cells = {row: {result.column: result for result in found} for row, found in results.items()}
        every = [result for found in cells.values() for result in found.values()]
        kinds = {(result.split, result.level) for result in every}
        if len(kinds) != 1:
            raise EvalError(
                "a matrix needs results of one split and one level" if kinds else "there are no results for a matrix",
                hint="measure all models in the same way",
            )
        metrics: dict[str, str] = {}
        for result in every:
            if metrics.setdefault(result.column, result.metric) != result.metric:
                raise EvalError(f"{result.column} has two metrics", hint="measure all models on the same suites")
        ((split, level),) = kinds
        order = dict.fromkeys([*(column for column in columns if column in metrics), *metrics])
        return cls(tuple(cells), tuple(order), cells, split, level)

    def get(self, row: str, column: str) -> SuiteResult | None:
        """The cell, or ``None`` where nothing was measured."""
        return self.cells.get(row, {}).get(column)

    @property
    def not_measured(self) -> dict[str, list[str]]:
        """Row → columns without a figure; rows that have all are left out."""
        missing = {row: [c for c in self.columns if c not in self.cells[row]] for row in self.rows}
        return {row: columns for row, columns in missing.items() if columns}

    @property
    def partial(self) -> bool:
        """Are there suites of experts that a row was not measured on? Chat, which experts are not asked, is none."""
        return any(c.partition("/")[0] != GENERAL for columns in self.not_measured.values() for c in columns)

    def metric(self, column: str) -> str:
        """bits_per_byte (lower is better), acc or exact_match (higher is better)."""
        return next(found[column].metric for found in self.cells.values() if column in found)

    def gains(self, baseline: str = BASE) -> dict[str, dict[str, Comparison]]:
        """Every other row against ``baseline``, paired by document: row → column → :class:`Comparison`."""
        if baseline not in self.rows:
            raise EvalError(f"the matrix has no row {baseline!r}", hint=f"it has {', '.join(self.rows)}")
        known = self.cells[baseline]
        return {
            row: {name: compare(result, known[name]) for name, result in self.cells[row].items() if name in known}
            for row in self.rows
            if row != baseline
        }

    def _repr_html_(self) -> str:
        """For notebooks: one row a model, one column a suite."""
        from cogen.display import table

        return table(*self._table())

    def __str__(self) -> str:
        from cogen.display import plain

        return plain(*self._table())

    def _table(self) -> tuple[str, tuple[str, ...], list[list[object]]]:
        rows: list[list[object]] = [
            [row, *(EMPTY if (cell := self.get(row, c)) is None else cell.value for c in self.columns)]
            for row in self.rows
        ]
        return f"{self.split} split, level {self.level}", ("model", *self.columns), rows

    def to_json(self) -> dict[str, Any]:
        """Plain values, every document's figures included; :meth:`from_json` gives an equal matrix."""
        cells = {row: [result.to_json() for result in found.values()] for row, found in self.cells.items()}
        return {
            "split": self.split,
            "part": self.split,
            "level": self.level,
            "columns": list(self.columns),
            "cells": cells,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """:raises EvalError: not what :meth:`to_json` wrote."""
        try:
            cells = {row: [SuiteResult.from_json(cell) for cell in found] for row, found in value["cells"].items()}
            columns = [str(column) for column in value.get("columns", ())]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EvalError(
                f"not a saved matrix: {error}", hint="make it again with `cogen eval` or `cogen fuse`"
            ) from error
        return cls.of(cells, columns)
