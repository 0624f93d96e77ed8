"""A merge method: a pure function on blocks of one tensor, and what it must know before the first block.

A tensor of any size is merged a :class:`Block` at a time. Most methods first need a property of the whole tensor (a
threshold, an angle): their ``survey`` sees every block of a :class:`Stack` and returns a small value, which is passed
to ``apply`` with each block. Both are pure, so blocks may be processed in any order by any number of threads.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cogen.errors import PluginError, UsageError
from cogen.merging.block import BLOCK, Block, InMemory, Stack, Unit
from cogen.merging.parameters import scalars

if TYPE_CHECKING:
    import torch


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
            noun = "model" if most == 1 else "models"
            raise UsageError(f"method {self.name} merges {wanted} {noun}, not {experts}", hint="choose other models")
        if self.base == "required" and not has_base:
            raise UsageError(
                f"method {self.name} needs a base", hint="give the model that the experts were trained from"
            )
        one = torch.ones(1)
        try:
            self(one if has_base else None, [one] * experts, weights or [1.0] * experts, **parameters)
        except (ZeroDivisionError, PluginError) as error:
            if isinstance(error, PluginError) and not isinstance(error.__cause__, ZeroDivisionError):
                raise
            raise UsageError(f"{self.name}: the weights sum to zero", hint="give weights with another sum") from error

    def pairs_with_base(self, experts: int) -> bool:
        """Is this a method of two models with one expert given? Then the base is the first of the two."""
        return self.experts == (2, 2) and experts == 1

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """:raises UsageError: an unknown parameter, a missing required one, or a value of another type."""
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
        self.check_types(parameters)

    def check_types(self, parameters: Mapping[str, Any]) -> None:
        """Compare values with the defaults' types: a text would count as true, and true as 1.

        :param parameters: numbers, switches and texts, also as gradients and conditions; anything else is left to the
            method.
        :raises UsageError: no number where the default is one, or neither true nor false where the default is.
        """
        for name, setting in parameters.items():
            default = self.parameters.get(name)
            if not isinstance(default, int | float):
                continue
            switch = isinstance(default, bool)
            for value in scalars(setting):
                if (value not in (0, 1)) if switch else isinstance(value, bool | str):
                    wanted = "true or false" if switch else "a number"
                    given = str(value).lower() if isinstance(value, bool) else repr(value)
                    example = str(default).lower() if switch else f"{default:g}"
                    raise UsageError(
                        f"{name} of {self.name} must be {wanted} (got {given})", hint=f"for example {name}={example}"
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
