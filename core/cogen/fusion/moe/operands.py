"""Operands of a mixture beside stored tensors: folded norm weights, and padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.merging.operands import Derived

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Folded(Derived):
    """``W · diag(own / common)``: reads states with the common norm weights as if they had the expert's own.

    Exact but for one rounding: ``W (own ⊙ x) = (W diag(own / common)) (common ⊙ x)``.

    :param ratio: ``own / common`` in float64, shape (columns,).
    """

    ratio: torch.Tensor

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        import torch

        columns = torch.arange(start, stop) % self.shape[1]
        return self.source.read(start, stop, dtype).mul_(self.ratio.to(dtype)[columns])


@dataclass(frozen=True)
class Padded(Derived):
    """A matrix with zeros below and to the right: neurons that add nothing."""

    padded: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.padded

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        import torch

        rows, columns = self.source.shape
        width = self.shape[1]
        first, last = start // width, -(-stop // width)
        found = torch.zeros(last - first, width, dtype=dtype)
        held = min(last, rows)
        if held > first:
            part = self.source.read(first * columns, held * columns, dtype)
            found[: held - first, :columns] = part.reshape(-1, columns)
        return found.reshape(-1)[start - first * width : stop - first * width]
