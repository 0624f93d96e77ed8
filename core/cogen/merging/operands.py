"""Operands of a merge: tensors of checkpoints, and operands that are derived from others."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import TensorInfo
from cogen.merging.block import Operand

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint; with an adapter, what it makes of its base, computed when it is read."""

    files: OpenFiles
    checkpoint: Checkpoint
    name: str
    key: str

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.checkpoint.tensors[self.name].shape
        return shape

    @property
    def dtype(self) -> str:
        dtype: str = self.checkpoint.tensors[self.name].dtype
        return dtype

    @property
    def plain(self) -> bool:
        """Is it stored as it is read, without an adapter's difference?"""
        return self.checkpoint.adapter is None or not self.checkpoint.changed(self.name)

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        found: torch.Tensor = self.files.read(self.checkpoint.tensors[self.name], start, stop).to(dtype)
        adapter = self.checkpoint.adapter
        if adapter is None or self.plain:
            return found
        columns = math.prod(self.shape[1:])
        first, last = start // columns, -(-stop // columns)
        if adapter.is_sum(self.name):
            difference: torch.Tensor = adapter.delta(self.name, dtype, first, last).reshape(-1)
            return found + difference[start - first * columns : stop - first * columns]
        info = self.checkpoint.tensors[self.name]
        rows = self.files.read(info, first * columns, last * columns).to(dtype).reshape(-1, *self.shape[1:])
        changed: torch.Tensor = adapter.apply(self.name, rows, first, last).reshape(-1)
        return changed[start - first * columns : stop - first * columns].clone()


@dataclass(frozen=True)
class Derived:
    """An operand computed from ``source``, whose shape, type and key it has unless a subclass says otherwise."""

    source: Operand

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def dtype(self) -> str:
        return self.source.dtype

    @property
    def key(self) -> str:
        return self.source.key

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        return self.source.read(start, stop, dtype)


@dataclass(frozen=True)
class Remembered(Derived):
    """A stored tensor of which every block is read from the file once, however often it is used.

    It is kept in its stored type, in one piece of memory. Threads that need a block at the same time may both read it.
    """

    source: Stored
    whole: torch.Tensor
    known: set[tuple[int, int]] = field(default_factory=set)

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        part = self.whole[start:stop]
        if (start, stop) not in self.known:
            self.source.files.read(self.source.checkpoint.tensors[self.source.name], start, stop, part)
            self.known.add((start, stop))
        return part.to(dtype, copy=True)


@dataclass(frozen=True)
class RowBlock(Derived):
    """A tensor whose rows are rows of another one, ``extra`` rows or zeros: an embedding for another vocabulary.

    :param index: for every row the row of ``source``; ``-1`` is a row of zeros, ``-2 - i`` is ``extra[i]``.
    """

    index: Sequence[int]
    extra: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.source.shape[1:])

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """Runs of neighbouring rows are read together."""
        import torch

        columns = math.prod(self.shape[1:])
        if stop <= start:
            return torch.empty(0, dtype=dtype)
        first, last = start // columns, -(-stop // columns)
        parts, row = [], first
        while row < last:
            origin, end = self.index[row], row + 1
            while origin >= 0 and end < last and self.index[end] == origin + end - row:
                end += 1
            if origin >= 0:
                parts.append(self.source.read(origin * columns, (origin + end - row) * columns, dtype))
            elif origin == -1:
                parts.append(torch.zeros(columns, dtype=dtype))
            else:
                assert self.extra is not None  # an index below -1 is made together with its rows
                parts.append(self.extra[-2 - origin].reshape(-1).to(dtype, copy=True))
            row = end
        found = torch.cat(parts) if len(parts) != 1 else parts[0]
        return found[start - first * columns : stop - first * columns]


def fingerprint(checkpoint: Checkpoint, files: OpenFiles) -> str:
    """A cheap identifier of a model's content: name, type, shape and first 4 KB of every tensor.

    It orders the experts of a merge and keys their random numbers, so that neither depends on the name of a folder or
    on its place in a recipe. It does not prove identity: the weights digest does.
    """
    digest = hashlib.sha256()
    own = checkpoint.tensors if checkpoint.adapter is None else {**checkpoint.tensors, **_factors(checkpoint)}
    for name, info in sorted(own.items()):
        digest.update(json.dumps([name, info.dtype, info.shape], separators=(",", ":")).encode())
        head = files.read(info, 0, min(info.numel, 1024))
        digest.update(_bytes(head))
    return digest.hexdigest()


def _factors(checkpoint: Checkpoint) -> dict[str, TensorInfo]:
    assert checkpoint.adapter is not None
    return checkpoint.adapter.tensors()


def _bytes(tensor: torch.Tensor) -> bytes:
    import torch

    return bytes(tensor.view(torch.uint8).numpy()) if tensor.numel() else b""
