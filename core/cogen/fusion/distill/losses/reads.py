"""What a loss may read of a row of logits, and what it then sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class PieceSums(Protocol):
    """s sums of probabilities a row, over more columns than one would read one by one."""

    @property
    def least(self) -> float:
        """A log-probability below counts as this one and has no slope; may be -inf."""

    def of(self, exps: torch.Tensor, at: slice | torch.Tensor) -> torch.Tensor:
        """Σ weight · entry over the columns, shape (m, s).

        :param exps: exponentials of some rows of logits, each row with a factor of its own, shape (m, V).
        :param at: their places among the rows that the loss asked for.
        """

    def spread(self, shares: torch.Tensor, at: slice | torch.Tensor, into: torch.Tensor) -> None:
        """Add Σ weight · share over the sums to every column.

        :param shares: shape (m, s); ``into``: shape (m, V); ``at``: as above.
        """


@dataclass(frozen=True)
class Reads:
    """What is read of n rows, besides their log-sum-exp.

    :param columns: logits of these columns, shape (n, k), int64.
    :param top: so many of the largest logits; ``among``: of these columns only, shape (V,), bool.
    :param sums: logarithms of sums of probabilities.
    """

    columns: torch.Tensor | None = None
    top: int = 0
    among: torch.Tensor | None = None
    sums: PieceSums | None = None


@dataclass(frozen=True)
class SeenTokens:
    """What was read, at least in float32 and differentiable in the logits; without columns where nothing was asked for.

    :param lse: log-sum-exp of each row, shape (n,).
    :param columns: logits, shape (n, k).
    :param top: the largest logits, descending, shape (n, top).
    :param sums: log-probabilities, shape (n, s).
    """

    lse: torch.Tensor
    columns: torch.Tensor
    top: torch.Tensor
    sums: torch.Tensor

    @property
    def logprobs(self) -> torch.Tensor:
        """Log-probabilities of the columns, shape (n, k)."""
        return self.columns - self.lse[:, None]
