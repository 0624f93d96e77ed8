"""Merging tensors that are in memory, by the same code as checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError, UsageError
from cogen.merging.block import InMemory
from cogen.merging.engine import Merge, make_stack
from cogen.merging.method import Method
from cogen.merging.methods import load_method

if TYPE_CHECKING:
    import torch

    StateDict = Mapping[str, torch.Tensor]


def merge_tensors(
    method: str | Method,
    experts: Sequence[torch.Tensor],
    *,
    base: torch.Tensor | None = None,
    weights: Sequence[float] | None = None,
    name: str = "",
    keys: Sequence[str] | None = None,
    **parameters: Any,
) -> torch.Tensor:
    """Merge tensors of one shape: ``merge_tensors("ties", [a, b], base=base, density=0.3)``.

    :param method: a name in :data:`~cogen.merging.methods.METHODS`, or a :class:`~cogen.merging.method.Method`.
    :param experts: floating-point tensors of any shape. They are widened to float32 (float64 for float32 inputs); the
        result is rounded once, to the dtype of the base, or of the first expert without one.
    :param base: the tensor that the experts were trained from; methods without a base ignore it.
    :param weights: one per expert; default 1.
    :param name: of the tensor; random masks depend on it.
    :param keys: one per expert, to identify it: random masks depend on them, and experts are processed in their order
        (unless their order matters to the method). Default: positions.
    :param parameters: of the method, each a number or a sequence with one per expert.
    :return: shape, dtype and device of the base, or of the first expert.
    :raises UsageError: an unknown method or parameter, or a value out of range.
    :raises CompatibilityError: tensors of different shapes, or not of floating-point numbers.
    """
    merged = merge_state_dicts(
        method,
        [{name: expert} for expert in experts],
        base=None if base is None else {name: base},
        weights=weights,
        keys=keys,
        **parameters,
    )[name]
    if not merged.is_floating_point():
        raise CompatibilityError(
            f"{str(merged.dtype).removeprefix('torch.')} tensors cannot be merged", hint="convert them"
        )
    return merged


def merge_state_dicts(
    method: str | Method,
    experts: Sequence[StateDict],
    *,
    base: StateDict | None = None,
    weights: Sequence[float] | None = None,
    keys: Sequence[str] | None = None,
    **parameters: Any,
) -> dict[str, torch.Tensor]:
    """Merge models in memory, tensor by tensor or, for methods such as ``ties_global``, all tensors together.

    Tensors that are not floating-point numbers are the base's, or the first expert's. For other arguments and errors
    see :func:`merge_tensors`; all state dicts must have the same names.
    """
    chosen = load_method(method) if isinstance(method, str) else method
    count = len(experts)
    if not count:
        raise UsageError("no experts given", hint="give at least one")
    shares = [1.0] * count if weights is None else [float(weight) for weight in weights]
    named = [f"{i:04d}" for i in range(count)] if keys is None else list(keys)
    for what, given in (("weights", shares), ("keys", named)):
        if len(given) != count:
            raise UsageError(f"{len(given)} {what} for {count} experts", hint="give one per expert")
    _check(chosen, count, base is not None, shares, parameters)
    first = experts[0] if base is None else base
    _check_alike(first, experts)
    merges = {
        name: _merge(chosen, name, experts, base, shares, named, parameters)
        for name, tensor in first.items()
        if tensor.is_floating_point()
    }
    stacks = {name: make_stack(name, merge) for name, merge in merges.items()}
    states: dict[str, Any] = {}
    if chosen.whole_model and merges:
        merge = next(iter(merges.values()))
        found = chosen.state(list(stacks.values()), merge.weights, merge.parameters)
        states = dict(zip(stacks, found, strict=True))
    result = {}
    for name, tensor in first.items():
        if name not in merges:
            result[name] = tensor.clone()
            continue
        merge = merges[name]
        state = states[name] if chosen.whole_model else chosen.state(stacks[name], merge.weights, merge.parameters)
        merged = chosen.apply_to(stacks[name], merge.weights, state, merge.parameters)
        result[name] = merged.to(dtype=tensor.dtype, device=tensor.device)
    return result


def _check(method: Method, count: int, has_base: bool, weights: Sequence[float], parameters: Mapping[str, Any]) -> None:
    if method.calibrated and "grams" not in parameters:
        raise UsageError(f"method {method.name} needs the parameter 'grams'", hint="give one Gram matrix per expert")
    pair = method.pairs_with_base(count) and has_base
    own = {name: value for name, value in parameters.items() if name != "grams"}
    for name in sorted(method.per_expert & own.keys()):
        value = own[name]
        if isinstance(value, list | tuple) and len(value) != count:
            raise UsageError(f"{len(value)} values of {name} for {count} experts", hint="give one, or one per expert")
    method.check(own, 2 if pair else count, has_base, [1.0, *weights] if pair else weights)


def _check_alike(first: StateDict, experts: Sequence[StateDict]) -> None:
    for i, expert in enumerate(experts):
        if different := sorted(first.keys() ^ expert.keys()):
            raise CompatibilityError(
                f"only some models have the tensor {different[0]!r}", hint="all models need the same tensors"
            )
        for name, tensor in first.items():
            if expert[name].shape != tensor.shape or expert[name].is_floating_point() != tensor.is_floating_point():
                what = f"tensor {name!r}" if name else "the tensor"
                raise CompatibilityError(
                    f"{what} is {_describe(tensor)} and, in expert {i}, {_describe(expert[name])}",
                    hint="merge models of one architecture and size",
                )


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _merge(
    method: Method,
    name: str,
    experts: Sequence[StateDict],
    base: StateDict | None,
    weights: Sequence[float],
    keys: Sequence[str],
    parameters: Mapping[str, Any],
) -> Merge:
    operands = [InMemory(expert[name].detach().cpu(), key) for expert, key in zip(experts, keys, strict=True)]
    root = None if base is None else InMemory(base[name].detach().cpu(), "base")
    shares = list(weights)
    if root is not None and method.pairs_with_base(len(operands)):
        operands, shares = [root, *operands], [1.0, *shares]
    used = None if method.base == "unused" else root
    return Merge(method, used, tuple(operands), tuple(shares), dict(parameters)).in_order()
