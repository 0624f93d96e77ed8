"""What is done to every tensor of the result: a method with its parameters, or a copy. No weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogen.errors import CompatibilityError, UsageError
from cogen.merging.engine import FLOATS
from cogen.merging.mergekit.layout import PlannedTensor
from cogen.merging.mergekit.methods import PEERS, MergekitMethod
from cogen.merging.mergekit.models import Model
from cogen.merging.mergekit.tensors import Input, Tensors
from cogen.merging.mergekit.values import not_silent, parameters_of
from cogen.merging.method import Method

_SIXTEEN, _EIGHT = ("float16", "bfloat16"), ("float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True)
class TensorStep:
    """One tensor of the result. Without a method it is the bytes of the only input.

    :param experts: what is merged, in the order of ``weights`` and of parameters that differ by expert.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    experts: tuple[Input, ...]
    base: Input | None = None
    method: Method | None = None
    weights: tuple[float, ...] = ()
    parameters: Mapping[str, Any] | None = None


def make_works(
    peer: MergekitMethod, slots: Iterable[PlannedTensor], tensors: Tensors, *, dtype: str | None = None, seed: int = 0
) -> list[TensorStep]:
    """Everything that can be wrong with the recipe's numbers and the models' shapes is refused here.

    :param dtype: of floating-point tensors of the result; default: the type that all inputs of a tensor fit into.
    :raises UsageError: a parameter that is missing, or out of range.
    :raises CompatibilityError: tensors of different shapes or kinds, quantized models that are not only copied.
    """
    tried: set[Any] = set()
    return [_refused(_work(peer, slot, tensors, dtype, seed), tensors.models, tried) for slot in slots]


def _work(peer: MergekitMethod, slot: PlannedTensor, tensors: Tensors, dtype: str | None, seed: int) -> TensorStep:
    infos = [tensors.models[entry.model].checkpoint.tensors[entry.stored] for entry in slot.inputs]
    floating = {info.dtype in FLOATS for info in infos}
    shape = _shape(slot, tensors)
    if floating != {True}:
        if len({info.dtype for info in infos}) > 1:
            listed = " and ".join(sorted({info.dtype for info in infos}))
            raise CompatibilityError(f"{slot.name} is {listed} in different models", hint="leave one of them out")
        at = slot.section.base or 0
        return TensorStep(slot.name, infos[at].dtype, shape, (slot.inputs[at],))
    wanted = dtype or common([info.dtype for info in infos])
    return _pure(_merge(peer, slot, shape, wanted, seed), tensors)


def _merge(peer: MergekitMethod, slot: PlannedTensor, shape: tuple[int, ...], dtype: str, seed: int) -> TensorStep:
    section, method = slot.section, peer.method
    base = None if section.base is None else slot.inputs[section.base]
    weights, parameters = parameters_of(peer, slot)
    chosen = not_silent(peer, slot, parameters)
    experts = tuple(slot.inputs[section.experts[i]] for i in chosen)
    if not experts:
        assert base is not None  # only methods with a base merge nothing else
        return TensorStep(
            slot.name, dtype, shape, (base,), method=PEERS["passthrough"].method, weights=(1.0,), parameters={}
        )
    own = {parameter.ours for parameter in peer.parameters.values() if parameter.own}
    parameters = {k: tuple(v[i] for i in chosen) if k in own else v for k, v in parameters.items()}
    if "seed" in method.parameters:
        parameters["seed"] = seed
    weights = tuple(weights[i] for i in chosen)
    if peer.role == "first":
        assert base is not None  # the section was refused otherwise
        experts, weights, base = (base, *experts), (1.0, *weights), None
    return TensorStep(slot.name, dtype, shape, experts, base, method, weights, parameters)


def _pure(work: TensorStep, tensors: Tensors) -> TensorStep:
    """A copy where the bytes of the input are the result."""
    if work.method is None or len(work.experts) != 1 or not _moves(work):
        return work
    (entry,) = work.experts
    model = tensors.models[entry.model]
    if model.checkpoint.tensors[entry.stored].dtype != work.dtype:
        return work
    if not model.plain and model.checkpoint.changed(entry.stored):
        return work
    if tensors.vocabulary is not None and tensors.vocabulary.is_vocabulary_tensor(entry.model, entry.name):
        return work
    return TensorStep(work.name, work.dtype, work.shape, work.experts)


def _moves(work: TensorStep) -> bool:
    """Is the result of one expert that expert?"""
    assert work.method is not None
    assert work.parameters is not None
    if work.method.name == "passthrough":
        return work.parameters.get("scale", (1.0,)) == (1.0,)
    if work.method.name == "linear":
        return work.weights == (1.0,) or (bool(work.parameters["normalize"]) and work.weights != (0.0,))
    return work.method.name == "karcher"


def _shape(slot: PlannedTensor, tensors: Tensors) -> tuple[int, ...]:
    """:raises CompatibilityError: the inputs have different ones."""
    shapes = [tensors.models[entry.model].checkpoint.tensors[entry.stored].shape for entry in slot.inputs]
    first, vocabulary = slot.inputs[0], tensors.vocabulary
    if vocabulary is not None and vocabulary.is_vocabulary_tensor(first.model, first.name):
        shapes = [(vocabulary.size, *shape[1:]) for shape in shapes]
    for entry, shape in zip(slot.inputs, shapes, strict=True):
        if shape != shapes[0]:
            rows = shape[1:] == shapes[0][1:] and first.stored in tensors.matrices(first.model)
            hint = "add tokenizer: {source: union}, or base" if rows else "models that are merged have the same shapes"
            raise CompatibilityError(
                f"{slot.name} is {_times(shapes[0])} in {tensors.models[first.model].title} and {_times(shape)} in "
                f"{tensors.models[entry.model].title}",
                hint=hint,
            )
    return shapes[0]


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a number"


def _refused(work: TensorStep, models: Sequence[Model], tried: set[Any]) -> TensorStep:
    """The work, after its method was tried with its parameters on single numbers."""
    if work.method is None:
        return work
    for entry in (*work.experts, *([work.base] if work.base else [])):
        if models[entry.model].checkpoint.config.get("quantization_config"):
            raise CompatibilityError(
                f"{models[entry.model].title} is quantized: its numbers are codes and scales that cannot be merged",
                hint="name the model that it was quantized from",
            )
    parameters = dict(work.parameters or {})
    alike = work.method.name, work.base is None, work.weights, tuple(sorted(parameters.items()))
    if alike not in tried:
        import torch

        work.method.refuse(parameters, len(work.experts), work.base is not None)
        one = torch.ones(1)
        try:
            base = one if work.base else None
            work.method(base, [one] * len(work.experts), work.weights, **parameters)
        except ZeroDivisionError as error:
            raise UsageError(
                f"{work.method.name}: the weights of {work.name} sum to zero", hint="give weights with another sum"
            ) from error
        tried.add(alike)
    return work


def common(dtypes: Sequence[str]) -> str:
    """The narrowest type that holds all numbers of these floating-point types."""
    found = set(dtypes)
    if len(found) == 1:
        return found.pop()
    for wide in ("float64", "float32"):
        if wide in found:
            return wide
    halves = [dtype for dtype in _SIXTEEN if dtype in found]
    return halves[0] if len(halves) == 1 else "float32" if halves else "float16" if found == set(_EIGHT) else "float32"
