"""Merging every row of a tensor by itself, or every column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cogen.merging.kernels.statistics import gram

if TYPE_CHECKING:
    import torch


class Rows(NamedTuple):
    """The vectors along a tensor's last axis: the weights of one neuron, in a matrix of (outputs, inputs).

    Of blocks with whole rows only: the method's unit is the row.
    """

    width: int

    def grams(self, vectors: Sequence[torch.Tensor]) -> list[list[list[float]]]:
        """The Gram matrix of every row of a block."""
        return gram([vector.reshape(-1, self.width) for vector in vectors]).tolist()

    def spread(self, values: Sequence[float], like: torch.Tensor) -> torch.Tensor | float:
        """One number a row as a factor for the block ``like``."""
        column = factor(values, like.dtype)
        if isinstance(column, float):
            return column
        rows, columns = like.shape
        if columns == self.width:
            return column[:, None]
        return column.reshape(rows, -1, 1).expand(-1, -1, self.width).reshape(rows, columns)


def factor(values: Sequence[float], dtype: torch.dtype) -> torch.Tensor | float:
    """Numbers as a tensor of factors; as one number where they are all the same.

    For a plain 0 leaves its tensor out and a plain 1 leaves it alone, down to the sign of a zero.
    """
    import torch

    return values[0] if all(value == values[0] for value in values) else torch.tensor(values, dtype=dtype)
