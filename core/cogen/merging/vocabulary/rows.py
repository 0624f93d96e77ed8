"""Tensors whose rows are put together from several others: read in blocks, whatever their size."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cogen.merging.block import BLOCK, Operand
from cogen.merging.kernels.statistics import folded_sum

if TYPE_CHECKING:
    import torch

#: Instead of the number of a source: a row of zeros; the mean of the own rows; -3 - i is the i-th list of sums.
ZERO, MEAN, SUMS = -1, -2, -3
#: Gaps of fewer elements between two wanted rows are read too: that is faster than a second read.
_GAP = 1 << 15


@dataclass(frozen=True)
class Sums:
    """Rows that are sums: row i is the sum of ``coefficient · row of source`` over the terms from start[i]
    up to start[i + 1]."""

    start: np.ndarray
    source: np.ndarray
    row: np.ndarray
    coefficient: np.ndarray

    @staticmethod
    def of(rows: Sequence[Sequence[tuple[int, int, float]]]) -> Sums:
        """From (source, row, coefficient) of every term."""
        terms = [term for row in rows for term in row]
        start = np.cumsum([0, *map(len, rows)])
        return Sums(
            start,
            np.array([term[0] for term in terms], dtype=np.int64),
            np.array([term[1] for term in terms], dtype=np.int64),
            np.array([term[2] for term in terms], dtype=np.float64),
        )


@dataclass(frozen=True)
class Assembled:
    """An operand with ``len(which)`` rows: row i is row ``row[i]`` of ``sources[which[i]]``, or see ``ZERO`` …

    :param own: which of the sources is the model's own tensor; it gives type, key and the mean.
    :param members: rows of the own tensor that count in the mean: those that stand for tokens.
    :param sums: made when the first of their rows is read, once: that may take long.
    """

    sources: dict[int, Operand]
    own: int
    which: np.ndarray
    row: np.ndarray
    members: np.ndarray
    sums: Sequence[Callable[[], Sums]] = ()
    _mean: list[torch.Tensor] = field(default_factory=list, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.which), *self.sources[self.own].shape[1:])

    @property
    def dtype(self) -> str:
        return str(self.sources[self.own].dtype)

    @property
    def key(self) -> str:
        return str(self.sources[self.own].key)

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`. Sums and means are rounded once, from float64."""
        import torch

        columns = columns_of(self.sources[self.own])
        if stop <= start or not columns:
            return torch.empty(0, dtype=dtype)
        first, last = start // columns, -(-stop // columns)
        which, row = self.which[first:last], self.row[first:last]
        kinds = [int(kind) for kind in np.unique(which)]
        if len(kinds) == 1 and kinds[0] >= 0:
            found = take(self.sources[kinds[0]], row, dtype)
        else:
            found = torch.zeros(last - first, columns, dtype=dtype)
            for kind in kinds:
                chosen = np.flatnonzero(which == kind)
                places = torch.from_numpy(chosen)
                if kind >= 0:
                    found[places] = take(self.sources[kind], row[chosen], dtype)
                elif kind == MEAN:
                    found[places] = self.mean().to(dtype)
                elif kind <= SUMS:
                    found[places] = self._sum_rows(self.sums[SUMS - kind](), row[chosen]).to(dtype)
        return found.reshape(-1)[start - first * columns : stop - first * columns]

    def mean(self) -> torch.Tensor:
        """The mean of the own rows that stand for tokens, float64, shape (columns,)."""
        import torch

        with self._lock:
            if not self._mean:
                own, total = self.sources[self.own], None
                step = max(1, BLOCK // columns_of(own))
                for begin in range(0, len(self.members), step):
                    part = folded_sum(take(own, self.members[begin : begin + step], torch.float64).T.contiguous())
                    total = part if total is None else total + part
                empty = torch.zeros(columns_of(own), dtype=torch.float64)
                self._mean.append(empty if total is None else total / len(self.members))
            return self._mean[0]

    def _sum_rows(self, sums: Sums, rows: np.ndarray) -> torch.Tensor:
        """Term after term, each for all rows at once: the order of additions doesn't depend on the block."""
        import torch

        total = torch.zeros(len(rows), columns_of(self.sources[self.own]), dtype=torch.float64)
        counts = sums.start[rows + 1] - sums.start[rows]
        for term in range(int(counts.max(initial=0))):
            living = np.flatnonzero(counts > term)
            terms = sums.start[rows[living]] + term
            for source in np.unique(sums.source[terms]):
                of_it = sums.source[terms] == source
                values = take(self.sources[int(source)], sums.row[terms[of_it]], torch.float64)
                factors = torch.from_numpy(sums.coefficient[terms[of_it]])
                total[torch.from_numpy(living[of_it])] += factors[:, None] * values
        return total


def columns_of(operand: Operand) -> int:
    """Elements of a row; 1 for a vector."""
    return math.prod(operand.shape[1:])


def take(operand: Operand, rows: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """These rows of a tensor, in any order, shape (rows, columns); neighbours are read together."""
    import torch

    columns = columns_of(operand)
    if not len(rows) or not columns:
        return torch.empty(len(rows), columns, dtype=dtype)
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    bounds = [0, *(np.flatnonzero(np.diff(ascending) > 1 + _GAP // columns) + 1), len(rows)]
    parts = []
    for begin, end in itertools.pairwise(bounds):
        low, high = int(ascending[begin]), int(ascending[end - 1]) + 1
        part = operand.read(low * columns, high * columns, dtype).reshape(-1, columns)
        wanted = ascending[begin:end] - low
        parts.append(part if np.array_equal(wanted, np.arange(high - low)) else part[torch.from_numpy(wanted)])
    found = torch.cat(parts) if len(parts) > 1 else parts[0]
    if np.array_equal(order, np.arange(len(rows))):
        return found
    result = torch.empty_like(found)
    result[torch.from_numpy(order)] = found
    return result
