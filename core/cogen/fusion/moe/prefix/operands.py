"""Operands of the widened model: the base's tensors with more rows and columns, computed when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.merging.operands import Derived

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class WideVector(Derived):
    """``factor · source``, followed by ``tail``; shape (length,)."""

    factor: float
    tail: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.source.shape[0] + len(self.tail),)

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        import torch

        own = self.source.shape[0]
        first = self.source.read(min(start, own), min(stop, own), dtype) * self.factor
        return torch.cat([first, self.tail[max(start - own, 0) : max(stop - own, 0)].to(dtype)])


@dataclass(frozen=True)
class WideRows(Derived):
    """A matrix of ``columns`` columns and as many rows as ``source`` or more; subclasses give whole rows."""

    wide: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.wide

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        columns = self.wide[1]
        first, last = start // columns, -(-stop // columns)
        found = self.rows(first, last, dtype).reshape(-1)
        return found[start - first * columns : stop - first * columns]

    def rows(self, first: int, last: int, dtype: torch.dtype) -> torch.Tensor:
        """Rows [first, last) of the source, zeros beside and below them: shape (last - first, columns)."""
        import torch

        rows, columns = self.source.shape
        found = torch.zeros(last - first, self.wide[1], dtype=dtype)
        held = max(min(last, rows) - first, 0)
        if held:
            part = self.source.read(first * columns, (first + held) * columns, dtype)
            found[:held, :columns] = part.reshape(-1, columns)
        return found


@dataclass(frozen=True)
class WideMatrix(WideRows):
    """With single ``entries`` (row, column, value) among the added zeros."""

    entries: Sequence[tuple[int, int, float]] = ()

    def rows(self, first: int, last: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`WideRows`."""
        found = super().rows(first, last, dtype)
        for row, column, value in self.entries:
            if first <= row < last:
                found[row - first, column] = value
        return found


@dataclass(frozen=True)
class WideEmbedding(WideRows):
    """Every row with ``extra`` behind it, as a share of the row's own root mean square: a norm then gives ``extra``.

    :param extra: shape (rows, added columns), float32; ``epsilon``: of the norm.
    :param steady: columns (of ``extra``) whose values are absolute, of the size ``unit``.
    """

    extra: torch.Tensor
    share: float
    epsilon: float
    steady: Sequence[int] = ()
    unit: float = 0.0

    def rows(self, first: int, last: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`WideRows`."""
        found = super().rows(first, last, dtype)
        own = self.source.shape[1]
        sizes = (found[:, :own].double().square().mean(1, keepdim=True) + self.epsilon).sqrt() * self.share
        sizes = sizes.repeat(1, self.extra.shape[1])
        sizes[:, list(self.steady)] = self.unit
        found[:, own : own + self.extra.shape[1]] = (self.extra[first:last].double() * sizes).to(dtype)
        return found
