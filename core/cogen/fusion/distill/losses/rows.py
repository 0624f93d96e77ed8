"""Several losses on one pass over the logits, a slice of rows at a time.

Vocabularies are large (262,144 for Gemma), so a copy of all logits in float32, a softmax, or a sort with its indices
is what fills the memory. Here no such copy of the whole ever exists: rows are cut into slices, each slice becomes
float32, every loss takes its few numbers a row from it, and it is dropped. Backward makes each slice again and writes
the gradient straight into the one tensor that autograd needs anyway: the gradient of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from cogen.fusion.distill.losses.loss import Loss, Pair

#: Elements of a float32 slice: 16 MB stay in a core's caches well enough and need few calls.
SLICE = 1 << 22


def measured(
    logits: torch.Tensor, asked: Sequence[tuple[Loss, Pair]], *, vocabulary: int | None = None, elements: int = SLICE
) -> list[torch.Tensor]:
    """What every loss measures, in the order of its own rows; differentiable in ``logits``.

    :param logits: shape (N, V), any float type.
    :param vocabulary: columns beyond are padding of the output head: they never count.
    :param elements: of a slice.
    :returns: for each loss, shape (n, s): see :meth:`Loss.measure`. A loss without rows is not asked, because a teacher
        who teaches nothing of a batch said nothing: shape (0, 1).
    """
    rows = [loss.rows(pair) for loss, pair in asked]
    union = torch.unique(torch.cat(rows)) if rows else torch.zeros(0, dtype=torch.int64)
    if not len(union):
        return [_wide(logits[:0, :1]) for _ in asked]
    step = max(1, elements // logits.shape[1])
    width = logits.shape[1] if vocabulary is None else min(vocabulary, logits.shape[1])
    parts = list(union.split(step))
    # Where each loss's rows lie among all: sorted, so that a slice's share is one run.
    orders = [torch.argsort(own) for own in rows]
    placed = [own[order] for own, order in zip(rows, orders, strict=True)]

    def slice_of(values: torch.Tensor, part: torch.Tensor) -> list[torch.Tensor]:
        """The losses' numbers for the rows ``part``, of their logits, shape (m, V)."""
        wide = _wide(values[:, :width])
        lse = torch.logsumexp(wide, 1)
        found = []
        for (loss, pair), own, order in zip(asked, placed, orders, strict=True):
            if not len(own):
                found.append(wide.new_zeros(0, 1))
                continue
            low = int(torch.searchsorted(own, part[0]))
            high = int(torch.searchsorted(own, part[-1], right=True))
            mine = own[low:high]
            inside = torch.searchsorted(part, mine)
            same = len(mine) == len(part)
            found.append(
                loss.measure(wide if same else wide[inside], lse if same else lse[inside], mine, order[low:high], pair)
            )
        return found

    columns = _Sliced.apply(logits, parts, slice_of)
    result = []
    for number, order in enumerate(orders):
        sorted_values = columns[number]
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        result.append(sorted_values[back])
    return result


class _Sliced(torch.autograd.Function):
    """``slice_of`` on every part of the rows, put together; backward runs it again, a part at a time."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, parts: list[torch.Tensor],
        slice_of: Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]],
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(logits)
        ctx.parts, ctx.slice_of = parts, slice_of
        found = [slice_of(_taken(logits, part), part) for part in parts]
        ctx.sizes = [[len(values) for values in one] for one in found]
        return tuple(torch.cat(values) for values in zip(*found, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (logits,) = ctx.saved_tensors
        whole = torch.zeros_like(logits)
        at = [0] * len(grads)
        for part, sizes in zip(ctx.parts, ctx.sizes, strict=True):
            own = [grad[start : start + size] for grad, start, size in zip(grads, at, sizes, strict=True)]
            at = [start + size for start, size in zip(at, sizes, strict=True)]
            with torch.enable_grad():
                values = _wide(_taken(logits, part).detach()).requires_grad_(True)
                found = ctx.slice_of(values, part)
                kept = [(value, grad) for value, grad in zip(found, own, strict=True) if value.requires_grad]
                if not kept:
                    continue
                torch.autograd.backward([value for value, _ in kept], [grad for _, grad in kept])
            first, last = int(part[0]), int(part[-1]) + 1
            if last - first == len(part):
                whole[first:last] = values.grad
            else:
                whole[part] = values.grad.to(whole.dtype)  # type: ignore[union-attr]
        return whole, None, None


def _wide(values: torch.Tensor) -> torch.Tensor:
    """At least float32: a softmax in bfloat16 has three digits."""
    return values.float() if values.dtype.itemsize < 4 else values


def _taken(logits: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """The rows of a part; a view where they follow one another."""
    first, last = int(part[0]), int(part[-1]) + 1
    return logits[first:last] if last - first == len(part) else logits[part]
