"""The largest entries of long rows, exactly, without sorting a vocabulary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def top_k(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` largest entries of each row, in descending order; of equal ones the lower column goes first.

    No entry of a row's top k lies outside of the k blocks of columns whose largest entries are the greatest: k other
    entries would be greater. So one pass finds the blocks' largest entries, and only k blocks are looked through.
    torch.topk looks through all columns and leaves the order of equal entries open; those are common in bfloat16.

    :param values: shape (r, V), float of at most 32 bits; may be a slice of columns of a wider tensor.
    :param k: from 1 to V.
    :returns: the entries, shape (r, k), differentiable in ``values``; their columns, shape (r, k), int64.
    """
    import torch

    with torch.no_grad():
        ids = _columns(values.detach(), k)
    return values.gather(1, ids), ids


def _columns(values: torch.Tensor, k: int) -> torch.Tensor:
    import torch

    width = values.shape[1]
    if not 1 <= k <= width:
        raise ValueError(f"top {k} of {width} columns")
    # What is looked through is the blocks' maxima and k whole blocks: least when a block has sqrt(V / k) columns.
    block = 2 ** round(math.log2(math.sqrt(width / k)))
    count = width // block
    columns = torch.arange(width, device=values.device).expand(len(values), -1)
    if block > 1 and count > k:
        largest = values[:, : count * block].view(len(values), count, block).amax(2)
        blocks = _order(largest, columns[:, :count], k)
        inside = blocks[:, :, None] * block + torch.arange(block, device=values.device)
        columns = torch.cat([inside.flatten(1), columns[:, count * block :]], dim=1)
        values = values.gather(1, columns)
    return columns.gather(1, _order(values, columns, k))


def _order(values: torch.Tensor, columns: torch.Tensor, k: int) -> torch.Tensor:
    """Places of the k largest values, of equal ones those of the lowest columns: both in one integer."""
    import torch

    bits = (values.float() + 0.0).view(torch.int32)  # + 0.0: minus zero is zero
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as an integer, a negative float falls where it should rise
    return ((rising.long() << 32) + (0xFFFFFFFF - columns)).topk(k, dim=1).indices
