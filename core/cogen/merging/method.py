"""A merge method: a pure function on blocks of one tensor, and what it must know before the first block.

A tensor of any size is merged a :class:`Block` at a time. Most methods first need a property of the whole tensor (a
threshold, an angle): their ``survey`` sees every block of a :class:`Stack` and returns a small value, which is passed
to ``apply`` with each block. Both are pure, so blocks may be processed in any order by any number of threads.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from cogen.errors import UsageError

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
        self.name, self.keys, self.count = stack.name, stack.keys, len(stack.experts)

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
class Method:
    """A merge method and its properties.

    ``apply(block, weights, state, **parameters)`` returns the merged block in the accumulator's dtype;
    ``survey(stack, weights, **parameters)`` computes its ``state`` beforehand. Calling the method itself merges
    tensors in memory, by the same code.
    """

    name: str
    apply: Callable[..., torch.Tensor]
    survey: Callable[..., Any] | None = None
    unit: Unit = "element"
    base: Literal["required", "optional", "unused"] = "required"
    #: Minimum and maximum number of experts; ``None``: no maximum.
    experts: tuple[int, int | None] = (1, None)
    #: The result depends on the order of the experts (t = 0 is the first, t = 1 the second).
    ordered: bool = False
    #: The survey takes all tensors of the model together.
    whole_model: bool = False
    #: The survey reads the tensors; otherwise it only computes with weights and parameters.
    looks: bool = True
    #: The method uses weights; otherwise they must be equal.
    weighted: bool = True
    #: It needs the parameter ``grams``: Gram matrices of the inputs of each linear layer, on every expert's own text.
    calibrated: bool = False
    #: A search selects the experts, by weights of 1 and 0.
    selects: bool = False
    #: Differences are summed, not averaged: N experts at scale 1 move N times as far as one.
    adds: bool = False
    #: Parameters that may have one value per expert.
    per_expert: frozenset[str] = frozenset()
    #: Parameters that a search may tune, each with its lowest and highest value.
    space: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: Where it was published.
    source: str = ""
    __doc__: str | None = None

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Keyword parameters and their defaults; ``inspect.Parameter.empty`` for a required one."""
        found = {}
        for function in (self.survey, self.apply):
            if function is not None:
                for name, parameter in inspect.signature(function).parameters.items():
                    if parameter.kind is parameter.KEYWORD_ONLY:
                        found[name] = parameter.default
        return found

    def check(
        self,
        parameters: Mapping[str, Any],
        experts: int,
        has_base: bool = True,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Check arguments before anything is read, by running the method on single numbers.

        :param parameters: one value, or a tuple with one per expert.
        :param weights: of the experts; default 1.
        :raises UsageError: an unknown, missing or invalid parameter, a wrong number of experts, a missing base, weights
            that sum to zero where the method divides by their sum.
        """
        import torch

        self.check_parameters(parameters)
        least, most = self.experts
        if experts < least or (most is not None and experts > most):
            wanted = str(least) if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            raise UsageError(f"method {self.name} merges {wanted} models, not {experts}", hint="choose other models")
        if self.base == "required" and not has_base:
            raise UsageError(
                f"method {self.name} needs a base", hint="give the model that the experts were trained from"
            )
        one = torch.ones(1)
        try:
            self(one if has_base else None, [one] * experts, weights or [1.0] * experts, **parameters)
        except ZeroDivisionError as error:
            raise UsageError(f"{self.name}: the weights sum to zero", hint="give weights with another sum") from error

    def pairs_with_base(self, experts: int) -> bool:
        """Is this a method of two models with one expert given? Then the base is the first of the two."""
        return self.experts == (2, 2) and experts == 1

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """:raises UsageError: an unknown parameter, or a missing required one."""
        known = set(self.parameters) - {"grams"}  # measured, never given
        unknown = sorted(set(parameters) - known)
        if unknown:
            listed = ", ".join(sorted(known)) or "none"
            raise UsageError(f"method {self.name} has no parameter {unknown[0]!r}", hint=f"its parameters: {listed}")
        missing = [n for n, d in self.parameters.items() if d is inspect.Parameter.empty and n not in parameters]
        if missing:
            raise UsageError(
                f"method {self.name} needs the parameter {missing[0]!r}", hint=f"for example {missing[0]}=0.5"
            )

    def accepted_by(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The subset of ``parameters`` that ``function`` accepts."""
        known = inspect.signature(function).parameters
        return {name: value for name, value in parameters.items() if name in known}

    def state(self, stack: Any, weights: Sequence[float], parameters: Mapping[str, Any]) -> Any:
        """The survey's result, ``None`` without a survey. ``stack`` is a list with ``whole_model``."""
        if self.survey is None:
            return None
        return self.survey(stack, weights, **self.accepted_by(self.survey, parameters))

    def __call__(
        self,
        base: torch.Tensor | None,
        experts: Sequence[torch.Tensor],
        weights: Sequence[float],
        *,
        keys: Sequence[str] | None = None,
        name: str = "",
        block: int = BLOCK,
        **parameters: Any,
    ) -> torch.Tensor:
        """Merge tensors in memory, all of one shape and of the accumulator's dtype (float32 or float64).

        :param keys: identify the experts, for random numbers; default: their positions.
        :param name: of the tensor, for random numbers.
        """
        from cogen.merging.in_memory import InMemory

        named = keys or [str(i) for i in range(len(experts))]
        operands = [InMemory(expert, key) for expert, key in zip(experts, named, strict=True)]
        root = None if base is None else InMemory(base, "base")
        stack = Stack(name, root, operands, experts[0].dtype, self.unit, block)
        state = self.state([stack] if self.whole_model else stack, weights, parameters)
        if self.whole_model:
            state = state[0]
        return self.apply_to(stack, weights, state, parameters)

    def apply_to(
        self, stack: Stack, weights: Sequence[float], state: Any, parameters: Mapping[str, Any]
    ) -> torch.Tensor:
        """The merged tensor of a stack as a whole, in the accumulator's dtype; ``state`` is that of :meth:`state`."""
        import torch

        accepted = self.accepted_by(self.apply, parameters)
        parts = list(stack.map(lambda block: self.apply(block, weights, state, **accepted).reshape(-1)))
        return torch.cat(parts).reshape(stack.shape) if parts else torch.empty(stack.shape, dtype=stack.dtype)


def method(
    *, name: str | None = None, per_expert: Sequence[str] = (), **properties: Any
) -> Callable[[Callable[..., torch.Tensor]], Method]:
    """Make a :class:`Method` of the function ``apply(block, weights, state, *, …)`` below."""

    def decorate(apply: Callable[..., torch.Tensor]) -> Method:
        title = name or apply.__name__
        return Method(title, apply, per_expert=frozenset(per_expert), __doc__=apply.__doc__, **properties)

    return decorate


def whole_tensor(name: str, function: Callable[..., torch.Tensor]) -> Method:
    """A method from a plain function ``f(base, experts, weights, *, …)`` on whole tensors."""

    def apply(block: Block, weights: Sequence[float], state: None, **parameters: Any) -> torch.Tensor:
        return function(block.base, block.experts, weights, **parameters)

    keyword = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    own = list(inspect.signature(apply).parameters.values())[:3]
    apply.__signature__ = inspect.Signature([*own, *keyword])  # type: ignore[attr-defined]
    return Method(name, apply, unit="tensor", source=function.__module__, __doc__=function.__doc__)


def each(value: float | Sequence[float], count: int) -> list[float]:
    """A parameter as a list with one value per expert."""
    return [float(value)] * count if isinstance(value, int | float) else [float(item) for item in value]
