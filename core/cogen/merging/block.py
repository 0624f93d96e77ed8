"""Tensors in blocks: operands, and the same block of elements of all of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import torch

#: Elements in a block. Changing it changes results: sums over a tensor are made block by block, so another value rounds
#: them differently. 1 MB in float32, which stays in the cache of a core.
BLOCK = 1 << 18

Unit = Literal["element", "row", "tensor"]
Result = TypeVar("Result")


class Operand(Protocol):
    """One input of a merge: a tensor that can be read in parts."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str:
        """As stored: the name of a torch dtype."""
        ...

    @property
    def key(self) -> str:
        """Identifies the tensor's model, whatever its place among the inputs; it keys random numbers."""
        ...

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """The elements [start, stop) of the flattened tensor, shape (stop - start,), widened to ``dtype``.

        Freshly allocated: the caller may modify them in place.
        """
        ...


class Block:
    """The same block of elements of the base and of every expert; each is read when it is first needed.

    Tensors are one-dimensional; of shape (rows, columns) where the method's unit is the row, and of the tensor's
    own shape where it is the tensor. ``base`` is ``None`` where the merge has none.
    """

    def __init__(self, stack: Stack, start: int, stop: int) -> None:
        self._stack, self.start, self.stop = stack, start, stop
        self.name, self.keys, self.count, self.dtype = stack.name, stack.keys, len(stack.experts), stack.dtype

    @functools.cached_property
    def base(self) -> torch.Tensor | None:
        return None if self._stack.base is None else self._read(self._stack.base)

    @functools.cached_property
    def experts(self) -> list[torch.Tensor]:
        return [self._read(expert) for expert in self._stack.experts]

    def expert(self, index: int) -> torch.Tensor:
        """One expert, without reading the others."""
        if "experts" in self.__dict__:
            return self.experts[index]
        return self._read(self._stack.experts[index])

    def scaled_expert(self, index: int, factor: float) -> torch.Tensor:
        """``factor·Eᵢ``, newly allocated."""
        if "experts" in self.__dict__:
            return self.experts[index] * factor
        found = self._read(self._stack.experts[index])
        return found if factor == 1.0 else found.mul_(factor)

    @functools.cached_property
    def differences(self) -> list[torch.Tensor]:
        """``expert - base`` of every expert, rounded once in the accumulator."""
        base = self.required_base
        return [expert - base for expert in self.experts]

    @property
    def required_base(self) -> torch.Tensor:
        """``base`` of a method that needs one: :meth:`Method.check` has made sure that there is one."""
        assert self.base is not None
        return self.base

    def _read(self, operand: Operand) -> torch.Tensor:
        flat = operand.read(self.start, self.stop, self._stack.dtype)
        if self._stack.unit == "element":
            return flat
        if self._stack.unit == "row":
            return flat.reshape(-1, self._stack.columns)
        return flat.reshape(self._stack.shape)


@dataclass(frozen=True)
class Stack:
    """One tensor of the base and of every expert, all of one shape, in blocks; ``dtype`` is the accumulator's."""

    name: str
    base: Operand | None
    experts: Sequence[Operand]
    dtype: torch.dtype
    unit: Unit = "element"
    block: int = BLOCK
    #: How blocks are mapped: by the engine's pool, or one after the other.
    mapper: Callable[[Callable[[Any], Any], Sequence[Any]], Any] = field(default=map, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.experts[0].shape

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(expert.key for expert in self.experts)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def columns(self) -> int:
        """Elements of a row: the size of the last dimension; vectors and scalars are one row."""
        return self.shape[-1] if len(self.shape) > 1 else max(1, self.numel)

    @property
    def rows(self) -> int:
        return self.numel // self.columns if self.columns else 0

    def bounds(self) -> list[tuple[int, int]]:
        """First and last element (exclusive) of every block; whole rows wherever a row fits into a block.

        Where the method's unit is the row a longer row is a block of its own.
        """
        if not self.numel:
            return []
        if self.unit == "tensor":
            return [(0, self.numel)]
        step = self.columns * max(1, self.block // self.columns)
        if self.unit == "element" and self.columns > self.block:
            step = self.block
        return [(start, min(start + step, self.numel)) for start in range(0, self.numel, step)]

    def blocks(self) -> Iterator[Block]:
        """In the order of the elements. A block keeps what it has read: release it before taking the next."""
        return (Block(self, start, stop) for start, stop in self.bounds())

    def map(self, function: Callable[[Block], Result]) -> Iterable[Result]:
        """``function`` of every block, in the order of the blocks; consume it at once, results may be large."""
        mapped: Iterable[Result] = self.mapper(lambda bounds: function(Block(self, *bounds)), self.bounds())
        return mapped


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
        """See :class:`cogen.merging.block.Operand`."""
        return self.tensor.reshape(-1)[start:stop].to(dtype, copy=True)
