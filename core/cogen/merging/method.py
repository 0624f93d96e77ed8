"""What a merge method is: a pure function on blocks of one tensor, and what has to be known before its first block.

A tensor of any size is merged a :class:`Block` at a time. Most methods need a look at the whole tensor first (a
threshold, an angle): their ``survey`` sees every block of a :class:`Stack` and returns a small value, which then goes
to ``apply`` with each block. Both are pure, so blocks may be worked on in any order by any number of threads.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cogen.errors import UsageError

if TYPE_CHECKING:
    import torch

#: Elements in a block. A constant of the format of results: sums over a tensor are made block by block, so another
#: value would round them otherwise. 1 MB in float32: what stays in a core's own cache.
BLOCK = 1 << 18

Unit = Literal["element", "row", "tensor"]


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
        """What the tensor's model is, whatever its place among the inputs: names its random numbers."""
        ...

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """The elements [start, stop) of the flattened tensor, shape (stop - start,), widened to ``dtype``.

        In memory of their own: the caller may work on them in place.
        """
        ...


class Block:
    """The same part of the base and of every expert; each is read when it is first asked for.

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
        """One expert alone, where the others are not needed."""
        if "experts" in self.__dict__:
            return self.experts[index]
        return self._read(self._stack.experts[index])

    def scaled_expert(self, index: int, factor: float) -> torch.Tensor:
        """``factor·Eᵢ`` in memory of its own; in place of what is read, where nobody else has it."""
        if "experts" in self.__dict__:
            return self.experts[index] * factor
        found = self._read(self._stack.experts[index])
        return found if factor == 1.0 else found.mul_(factor)

    @functools.cached_property
    def differences(self) -> list[torch.Tensor]:
        """``expert - base`` of every expert, rounded once in the accumulator."""
        assert self.base is not None  # the engine refuses a method that needs a base without one
        return [expert - self.base for expert in self.experts]

    def _read(self, operand: Operand) -> torch.Tensor:
        flat = operand.read(self.start, self.stop, self._stack.dtype)
        if self._stack.unit == "element":
            return flat
        if self._stack.unit == "row":
            return flat.reshape(-1, self._stack.columns)
        return flat.reshape(self._stack.shape)


@dataclass(frozen=True)
class Stack:
    """One tensor of the base and of every expert, in blocks. All have one shape; ``dtype`` is the accumulator's."""

    name: str
    base: Operand | None
    experts: Sequence[Operand]
    dtype: torch.dtype
    unit: Unit = "element"
    block: int = BLOCK
    #: How blocks are mapped: the engine's pool, or one after the other.
    mapper: Callable[[Callable[[Any], Any], Sequence[Any]], Any] = field(default=map, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.experts[0].shape

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(expert.key for expert in self.experts)

    @property
    def numel(self) -> int:
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def columns(self) -> int:
        """Elements of a row: the last extent; a vector is one row, so is a number."""
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
        """In the order of the elements. A block keeps what it has read, so let go of it before the next."""
        return (Block(self, start, stop) for start, stop in self.bounds())

    def map(self, function: Callable[[Block], Any]) -> Iterable[Any]:
        """``function`` of every block, in the order of the blocks; iterate over it at once, results may be large."""
        return self.mapper(lambda bounds: function(Block(self, *bounds)), self.bounds())


@dataclass(frozen=True)
class Method:
    """A merge method and what the planner has to know of it.

    ``apply(block, weights, state, **parameters)`` gives the merged block in the accumulator's dtype;
    ``survey(stack, weights, **parameters)`` gives its ``state`` beforehand. Calling the method itself merges
    tensors that are in memory, by the same code.
    """

    name: str
    apply: Callable[..., torch.Tensor]
    survey: Callable[..., Any] | None = None
    unit: Unit = "element"
    base: Literal["required", "optional", "unused"] = "required"
    #: Fewest and most experts; ``None``: any number.
    experts: tuple[int, int | None] = (1, None)
    #: The order of the experts is part of the result (t = 0 is the first, t = 1 the second).
    ordered: bool = False
    #: The survey looks at all tensors of the model together.
    whole_model: bool = False
    #: The survey reads the tensors; otherwise it only computes with weights and parameters.
    looks: bool = True
    #: Weights play a part; otherwise they must be equal.
    weighted: bool = True
    #: It needs the parameter ``grams``: what goes into each linear layer of every expert on its own text.
    calibrated: bool = False
    #: The search chooses which of the experts take part, by weights of 1 and 0.
    selects: bool = False
    #: Differences are added up, not averaged: N experts at scale 1 go N times as far as one.
    adds: bool = False
    #: Parameters that may have one value an expert.
    per_expert: frozenset[str] = frozenset()
    #: Parameters that a search may tune, each with its lowest and highest value.
    space: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: Where it was published.
    source: str = ""
    __doc__: str | None = None

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Keyword parameters and their defaults; ``inspect.Parameter.empty`` where one must be given."""
        found = {}
        for function in (self.survey, self.apply):
            if function is not None:
                for name, parameter in inspect.signature(function).parameters.items():
                    if parameter.kind is parameter.KEYWORD_ONLY:
                        found[name] = parameter.default
        return found

    def refuse(self, parameters: Mapping[str, Any], experts: int, has_base: bool = True) -> None:
        """Refuse what cannot work, before anything is read: by trying it on numbers instead of tensors.

        :param parameters: numbers, or one an expert, for the parameters that may have that.
        :raises UsageError: a parameter that it lacks, needs or finds out of range, another number of experts than it
            takes, no base where it needs one.
        """
        import torch

        self.check_parameters(parameters)
        least, most = self.experts
        if experts < least or (most is not None and experts > most):
            wanted = str(least) if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            raise UsageError(f"method {self.name} merges {wanted} models, not {experts}", hint="choose other experts")
        if self.base == "required" and not has_base:
            raise UsageError(f"method {self.name} needs a base", hint="name the model that the experts came from")
        one = torch.ones(1)
        self(one if has_base else None, [one] * experts, [1.0] * experts, **parameters)

    def pairs_with_base(self, experts: int) -> bool:
        """Is this a method of two models that was given one expert? Then the base is the first of the two."""
        return self.experts == (2, 2) and experts == 1

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """:raises UsageError: naming a parameter that the method doesn't have, or one that it lacks."""
        known = set(self.parameters) - {"grams"}  # measured, never given
        unknown = sorted(set(parameters) - known)
        if unknown:
            listed = ", ".join(sorted(known)) or "none"
            raise UsageError(f"method {self.name} has no parameter {unknown[0]!r}", hint=f"its parameters: {listed}")
        missing = [n for n, d in self.parameters.items() if d is inspect.Parameter.empty and n not in parameters]
        if missing:
            raise UsageError(
                f"method {self.name} needs the parameter {missing[0]!r}", hint=f"give it, e.g. --set {missing[0]}=0.5"
            )

    def taken(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``parameters`` that ``function`` takes."""
        known = inspect.signature(function).parameters
        return {name: value for name, value in parameters.items() if name in known}

    def state(self, stack: Any, weights: Sequence[float], parameters: Mapping[str, Any]) -> Any:
        """The survey's value, ``None`` where there is no survey. ``stack`` is a list with ``whole_model``."""
        if self.survey is None:
            return None
        return self.survey(stack, weights, **self.taken(self.survey, parameters))

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
        """Merge tensors in memory, all of one shape and of the accumulator's dtype."""
        import torch

        from cogen.merging.memory import InMemory

        named = keys or [str(i) for i in range(len(experts))]
        held = [InMemory(expert, key) for expert, key in zip(experts, named, strict=True)]
        root = None if base is None else InMemory(base, "base")
        stack = Stack(name, root, held, experts[0].dtype, self.unit, block)
        state = self.state([stack] if self.whole_model else stack, weights, parameters)
        if self.whole_model:
            state = state[0]
        given = self.taken(self.apply, parameters)
        parts = list(stack.map(lambda found: self.apply(found, weights, state, **given).reshape(-1)))
        return torch.cat(parts).reshape(stack.shape) if parts else experts[0].clone()


def method(
    *, name: str | None = None, per_expert: Sequence[str] = (), **facts: Any
) -> Callable[[Callable[..., torch.Tensor]], Method]:
    """Make a :class:`Method` of the function ``apply(block, weights, state, *, …)`` below."""

    def made(apply: Callable[..., torch.Tensor]) -> Method:
        title = name or apply.__name__
        return Method(title, apply, per_expert=frozenset(per_expert), __doc__=apply.__doc__, **facts)

    return made


def whole_tensor(name: str, function: Callable[..., torch.Tensor]) -> Method:
    """A method out of a plugin's plain function ``f(base, experts, weights, *, …)`` on whole tensors."""

    def apply(block: Block, weights: Sequence[float], state: None, **parameters: Any) -> torch.Tensor:
        return function(block.base, block.experts, weights, **parameters)

    keyword = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    own = list(inspect.signature(apply).parameters.values())[:3]
    apply.__signature__ = inspect.Signature([*own, *keyword])  # type: ignore[attr-defined]
    return Method(name, apply, unit="tensor", source=function.__module__, __doc__=function.__doc__)


def each(value: float | Sequence[float], count: int) -> list[float]:
    """A parameter as one value an expert."""
    return [float(v) for v in value] if isinstance(value, (list, tuple)) else [float(value)] * count
