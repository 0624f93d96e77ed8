"""An operand that is in memory already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class InMemory:
    """A tensor as an operand; any layout, any floating-point dtype."""

    tensor: torch.Tensor
    key: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        return str(self.tensor.dtype).removeprefix("torch.")

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.method.Operand`."""
        return self.tensor.reshape(-1)[start:stop].to(dtype, copy=True)
