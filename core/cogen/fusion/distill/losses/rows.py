"""Several losses on one pass over the logits, a slice of rows at a time.

Vocabularies are large (262,144 for Gemma), so a copy of all logits in float32, a softmax, or a sort with its indices
is what fills the memory, and every pass over them is what takes the time. Here no such copy ever exists: rows are cut
into slices, each slice becomes float32 and its exponentials are taken once for all losses, every loss is given the few
numbers a row that it reads, and the slice is dropped. Those numbers move a row x, whose probabilities are p, in but
one way:

    dx = p · (a + Σ share · weight)  +  entries at the columns that were read

so backward makes each slice's probabilities, multiplies once, adds the entries, and writes straight into the one
tensor that autograd needs anyway: the gradient of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cogen.fusion.distill.losses.gradient_norms import GradientNorms
from cogen.fusion.distill.losses.loss import DistillBatch, Loss
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.losses.slopes import Move, Piece, Places, Share, gradient, logs_of
from cogen.fusion.distill.teachers.top import top_k

#: Elements of a float32 slice: 16 MB stay in a core's caches well enough and need few calls.
SLICE = 1 << 22


def read_logits(
    logits: torch.Tensor,
    terms: Sequence[tuple[Loss, DistillBatch]],
    *,
    vocabulary: int | None = None,
    elements: int = SLICE,
    norms: GradientNorms | None = None,
) -> list[SeenTokens]:
    """What every loss reads, differentiable in ``logits``.

    :param logits: shape (N, V), any float type.
    :param vocabulary: columns beyond are padding of the output head: they never count.
    :param elements: of a slice.
    :param norms: collects the gradient of each loss during backward, while it is open.
    :returns: one entry a loss; empty for a loss without rows (its teacher has no statistics of this batch).
    """
    width = logits.shape[1] if vocabulary is None else min(vocabulary, logits.shape[1])
    rows = [loss.rows(batch) for loss, batch in terms]
    reads = [loss.reads(batch, width) if len(own) else Reads() for (loss, batch), own in zip(terms, rows, strict=True)]
    union = torch.unique(torch.cat(rows)) if rows else torch.zeros(0, dtype=torch.int64)
    parts = union.split(max(1, elements // logits.shape[1])) if len(union) else ()
    read_all: Any = _Read.apply  # torch has no types for it
    found = read_all(logits, _Job(rows, reads, width, parts, norms))
    result = []
    for number, read in enumerate(reads):
        lse, entries, sums = found[3 * number : 3 * number + 3]
        k = 0 if read.columns is None else read.columns.shape[1]
        result.append(SeenTokens(lse, entries[:, :k], entries[:, k:], sums))
    return result


@dataclass(frozen=True)
class _Job:
    """Which rows each loss reads, and what; in which slices of rows."""

    rows: Sequence[torch.Tensor]
    reads: Sequence[Reads]
    width: int
    parts: Sequence[torch.Tensor]
    norms: GradientNorms | None

    def slices(self, logits: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[Share]]]:
        """Each slice's rows, its logits, a buffer of their shape, and the losses' shares of it.

        Both last until the next slice: memory that is new for each would have to be cleared by the system first.
        """
        most = max((len(part) for part in self.parts), default=0)
        made = [_wide(logits[:0, :0]).new_empty(most, self.width) for _ in range(2)]
        for part in self.parts:
            x, buffer = (one[: len(part)] for one in made)
            yield part, x.copy_(logits[_run(part), : self.width]), buffer, list(self._shares(part))

    def _shares(self, part: torch.Tensor) -> Iterator[Share]:
        for number, own in enumerate(self.rows):
            low = int(torch.searchsorted(own, part[0]))
            high = int(torch.searchsorted(own, part[-1], right=True))
            if low < high:
                yield Share(number, slice(low, high), _run(torch.searchsorted(part, own[low:high])))


class _Read(torch.autograd.Function):
    """For one loss after the other: log-sum-exp, entries, and sums as :class:`SeenTokens` has them."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, job: _Job) -> tuple[torch.Tensor, ...]:
        nothing = _wide(logits[:0])
        # Each with nothing in it, so that there is something to put together for a loss without rows.
        found = [([nothing.sum(1)], [nothing[:, :0]], [nothing[:, :0]]) for _ in job.rows]
        places: list[list[torch.Tensor]] = [[] for _ in job.rows]
        lses = []
        with torch.autocast(logits.device.type, enabled=False):  # it would multiply in bfloat16
            for _, x, exps, shares in job.slices(logits):
                high = x.amax(1, keepdim=True)
                high = torch.where(high.isinf(), 0.0, high)
                torch.sub(x, high, out=exps).exp_()
                lse = exps.sum(1).log_().add_(high[:, 0])
                lses.append(lse)
                ranks: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}
                for share in shares:
                    read, at, inside = job.reads[share.number], share.at, share.inside
                    own_lse, own_entries, own_sums = found[share.number]
                    own_lse.append(lse[inside])
                    entries = []
                    if read.columns is not None:
                        entries.append((x[inside].gather(1, read.columns[at]), read.columns[at]))
                    if read.top:
                        key = id(job.rows[share.number]), read.top, id(read.among)
                        if key not in ranks:
                            ranks[key] = top_k(_among(x[inside], read.among), read.top)
                        entries.append(ranks[key])
                    if entries:
                        own_entries.append(torch.cat([values for values, _ in entries], 1))
                        places[share.number].append(torch.cat([columns for _, columns in entries], 1))
                    if read.sums is not None:
                        unit = (high[:, 0] - lse)[inside, None]
                        own_sums.append(logs_of(read.sums, at, exps[inside], unit, x[inside], lse[inside]))
        out = [torch.cat(one[1:] or one) for own in found for one in own]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, *lses, *out[2::3])
        ctx.job, ctx.places = job, [torch.cat(one) if one else None for one in places]
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor, None]:
        logits, *saved = ctx.saved_tensors
        job: _Job = ctx.job
        lses, logs = saved[: len(job.parts)], saved[len(job.parts) :]
        moves = [
            Move(lse, entries, sums, places, read.sums, own)
            for lse, entries, sums, places, read, own in zip(
                grads[0::3], grads[1::3], grads[2::3], ctx.places, job.reads, logs, strict=True
            )
        ]
        whole = torch.empty_like(logits)
        still = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        for (part, x, buffer, shares), lse in zip(job.slices(logits), lses, strict=True):
            moving = [(share, moves[share.number]) for share in shares if moves[share.number].any]
            if moving:
                rows = _run(part)
                p = x.sub_(lse[:, None]).exp_()
                piece = Piece(p, lse, part, logits[:, : job.width])
                own = _sum_gradients(piece, moving, buffer, job.norms)
                whole[rows, : job.width] = own if isinstance(rows, slice) else own.to(whole.dtype)
                still[rows] = False
        whole[torch.nonzero(still)[:, 0]] = 0
        whole[:, job.width :] = 0
        return whole, None


def _sum_gradients(
    piece: Piece, moves: Sequence[tuple[Share, Move]], buffer: torch.Tensor, norms: GradientNorms | None
) -> torch.Tensor:
    """The gradient of a slice; each loss's own is shown to ``norms``."""
    if norms is None or not norms.open:
        return gradient(piece, moves, piece.p, buffer)
    total, own = torch.zeros_like(buffer), torch.empty_like(buffer)
    for move in moves:
        norms.add(move[0].number, gradient(piece, [move], own, buffer))
        total += own
    return total


def _among(x: torch.Tensor, columns: torch.Tensor | None) -> torch.Tensor:
    return x if columns is None else x.masked_fill(~columns, float("-inf"))


def _run(rows: torch.Tensor) -> Places:
    """Rows as a slice where they follow one another: it takes no copy."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    return slice(first, last) if last - first == len(rows) else rows


def _wide(values: torch.Tensor) -> torch.Tensor:
    """At least float32: a softmax in bfloat16 has three digits."""
    return values.float() if values.dtype.itemsize < 4 else values
