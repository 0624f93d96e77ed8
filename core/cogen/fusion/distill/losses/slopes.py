"""How a slice of rows moves with what losses read of it, by hand: autograd would go over it many times.

    dx = p · (a + Σ share · weight)  +  entries at the columns that were read

with a the slope of the log-sum-exp less those of all sums, whose log-probabilities it is a part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cogen.fusion.distill.losses.reads import PieceSums

#: Smaller log-probabilities are reckoned without their row's largest: the exponentials of float32 end at -87.
FAINT = -60.0

Places = slice | torch.Tensor


@dataclass(frozen=True)
class Share:
    """A loss's rows of a slice: ``at`` among the loss's own, ``inside`` of the slice."""

    number: int
    at: slice
    inside: Places


@dataclass(frozen=True)
class Move:
    """Slopes of one loss in everything that it read of its n rows; ``None``: it does not move with that.

    :param lse: shape (n,).
    :param entries: of the logits at ``columns``, shape (n, k).
    :param sums: of the log-probabilities ``logs``, which are those of ``kind``, shape (n, s).
    """

    lse: torch.Tensor | None
    entries: torch.Tensor | None
    sums: torch.Tensor | None
    columns: torch.Tensor | None
    kind: PieceSums | None
    logs: torch.Tensor

    @property
    def any(self) -> bool:
        return self.lse is not None or self.entries is not None or self.sums is not None

    def living(self, at: slice) -> torch.Tensor | None:
        """Slopes of the sums, shape (m, s), none of those that are not above the least."""
        if self.sums is None or self.kind is None:
            return None
        return torch.where(self.logs[at] > self.kind.least, self.sums[at], 0.0)


@dataclass(frozen=True)
class Piece:
    """A slice of rows.

    :param p: probabilities, shape (m, V); ``lse``: log-sum-exp, shape (m,).
    :param rows: which they are, shape (m,), of all ``logits``, shape (N, V), of any float type.
    """

    p: torch.Tensor
    lse: torch.Tensor
    rows: torch.Tensor
    logits: torch.Tensor


def logs_of(
    kind: PieceSums, at: slice, exps: torch.Tensor, unit: torch.Tensor, x: torch.Tensor, lse: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities of sums, shape (m, s).

    :param exps: the rows' exponentials, shape (m, V); ``unit``: what their logarithms lack to log-probabilities, shape
        (m, 1).
    :param x: the rows; ``lse``: their log-sum-exp, shape (m,).
    """
    logs = (kind.of(exps, at).log() + unit).clamp(min=kind.least)
    if kind.least < FAINT and (faint := logs < FAINT).any():
        row, weights = _weights(kind, at, faint, x)
        logs[faint] = (x[row] + weights.log()).logsumexp(1) - lse[row]
    return logs


def gradient(
    piece: Piece, moves: Sequence[tuple[Share, Move]], out: torch.Tensor, factor: torch.Tensor
) -> torch.Tensor:
    """The gradient of a slice, in ``out``, shape (m, V), which may be its probabilities.

    :param factor: memory of the same shape, for use in between.
    """
    p = piece.p
    a = p.new_zeros(len(p))
    sums = []
    for share, move in moves:
        if move.lse is not None:
            a[share.inside] += move.lse[share.at]
        if (slopes := move.living(share.at)) is not None:
            a[share.inside] -= slopes.sum(1)
            sums.append((share, move, slopes))
    if sums:
        factor.copy_(a[:, None].expand_as(factor))
        faint = [part for one in sums for part in _spread(piece, *one, factor)]
        torch.mul(p, factor, out=out)
        for rows, part in faint:
            out.index_add_(0, rows, part)
    else:
        torch.mul(p, a[:, None], out=out)
    for share, move in moves:
        if move.entries is not None and move.columns is not None:
            # A row of others gets a zero in the first column.
            columns = move.columns.new_zeros(len(p), move.columns.shape[1])
            entries = p.new_zeros(columns.shape)
            columns[share.inside], entries[share.inside] = move.columns[share.at], move.entries[share.at]
            out.scatter_add_(1, columns, entries)
    return out


def _spread(
    piece: Piece, share: Share, move: Move, slopes: torch.Tensor, factor: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Add a loss's sums to ``factor``. What is too faint for it is given back: rows, and their gradients."""
    assert move.kind is not None
    inside, logs = share.inside, move.logs[share.at]
    moving = slopes != 0
    faint = (logs < FAINT) & moving
    into = factor[inside]
    move.kind.spread(torch.where(moving & ~faint, slopes * (-logs).exp(), 0.0), share.at, into)
    if isinstance(inside, torch.Tensor):  # then it is a copy
        factor[inside] = into
    if not faint.any():
        return []
    row, weights = _weights(move.kind, share.at, faint, factor)
    rows = torch.arange(len(factor), device=factor.device)[inside][row]
    unit = (piece.lse[rows] + logs[faint])[:, None]
    logprobs = piece.logits[piece.rows[rows]] - unit + weights.log()
    return [(rows, logprobs.exp() * slopes[faint][:, None])]


def _weights(kind: PieceSums, at: slice, chosen: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and weights of some sums, shape (q,) and (q, V).

    :param chosen: which, shape (m, s), bool; ``like``: of the type and width that is wanted, shape (any, V).
    """
    row, number = torch.nonzero(chosen, as_tuple=True)
    weights = like.new_zeros(len(row), like.shape[1])
    kind.spread(torch.nn.functional.one_hot(number, chosen.shape[1]).to(like), row + at.start, weights)
    return row, weights
