"""What is done to every tensor of the result: a method with its parameters, or a copy. No weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogen.errors import CompatibilityError, UsageError
from cogen.merging.engine import FLOATS
from cogen.merging.mergekit.layout import PlannedTensor
from cogen.merging.mergekit.methods import MERGEKIT_METHODS, MergekitMethod
from cogen.merging.mergekit.tensors import Input, Tensors
from cogen.merging.mergekit.values import active_experts, parameters_of
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


def plan_steps(
    recipe_method: MergekitMethod,
    planned: Iterable[PlannedTensor],
    tensors: Tensors,
    *,
    dtype: str | None = None,
    seed: int = 0,
) -> list[TensorStep]:
    """The step of every tensor; parameters and shapes are checked here, before a weight is read.

    :param dtype: of floating-point tensors of the result; default: the common type of the tensor's inputs.
    :raises UsageError: a parameter that is missing, or out of range.
    :raises CompatibilityError: tensors of different shapes or kinds.
    """
    tried: set[Any] = set()
    return [_check_step(_step(recipe_method, tensor, tensors, dtype, seed), tried) for tensor in planned]


def _step(
    recipe_method: MergekitMethod, tensor: PlannedTensor, tensors: Tensors, dtype: str | None, seed: int
) -> TensorStep:
    infos = [tensors.models[entry.model].checkpoint.tensors[entry.stored] for entry in tensor.inputs]
    floating = {info.dtype in FLOATS for info in infos}
    shape = _shape(tensor, tensors)
    if floating != {True}:
        if len({info.dtype for info in infos}) > 1:
            listed = " and ".join(sorted({info.dtype for info in infos}))
            raise CompatibilityError(f"{tensor.name} is {listed} in different models", hint="remove one of the models")
        at = tensor.section.base or 0
        return TensorStep(tensor.name, infos[at].dtype, shape, (tensor.inputs[at],))
    wanted = dtype or common_dtype([info.dtype for info in infos])
    return _copy_if_identical(_merge(recipe_method, tensor, shape, wanted, seed), tensors)


def _merge(
    recipe_method: MergekitMethod, tensor: PlannedTensor, shape: tuple[int, ...], dtype: str, seed: int
) -> TensorStep:
    section, method = tensor.section, recipe_method.implementation
    base = None if section.base is None else tensor.inputs[section.base]
    weights, parameters = parameters_of(recipe_method, tensor)
    chosen = active_experts(recipe_method, tensor, parameters)
    experts = tuple(tensor.inputs[section.experts[i]] for i in chosen)
    if not experts:
        assert base is not None  # only methods with a base merge nothing else
        return TensorStep(
            tensor.name,
            dtype,
            shape,
            (base,),
            method=MERGEKIT_METHODS["passthrough"].implementation,
            weights=(1.0,),
            parameters={},
        )
    own = {parameter.keyword for parameter in recipe_method.parameters.values() if parameter.per_model}
    parameters = {k: tuple(v[i] for i in chosen) if k in own else v for k, v in parameters.items()}
    if "seed" in method.parameters:
        parameters["seed"] = seed
    weights = tuple(weights[i] for i in chosen)
    if recipe_method.role == "first":
        assert base is not None  # make_sections() checks it
        experts, weights, base = (base, *experts), (1.0, *weights), None
    return TensorStep(tensor.name, dtype, shape, experts, base, method, weights, parameters)


def _copy_if_identical(step: TensorStep, tensors: Tensors) -> TensorStep:
    """A plain copy where the result has the bytes of the input."""
    if step.method is None or len(step.experts) != 1 or not _is_identity(step):
        return step
    (entry,) = step.experts
    model = tensors.models[entry.model]
    if model.checkpoint.tensors[entry.stored].dtype != step.dtype:
        return step
    if not model.plain and model.checkpoint.changed(entry.stored):
        return step
    if tensors.vocabulary is not None and tensors.vocabulary.is_vocabulary_tensor(entry.model, entry.name):
        return step
    return TensorStep(step.name, step.dtype, step.shape, step.experts)


def _is_identity(step: TensorStep) -> bool:
    """Does the method return a single expert unchanged?"""
    assert step.method is not None
    assert step.parameters is not None
    if step.method.name == "passthrough":
        return bool(step.parameters.get("scale", (1.0,)) == (1.0,))
    if step.method.name == "linear":
        return step.weights == (1.0,) or (bool(step.parameters["normalize"]) and step.weights != (0.0,))
    return step.method.name == "karcher"


def _shape(tensor: PlannedTensor, tensors: Tensors) -> tuple[int, ...]:
    """:raises CompatibilityError: the inputs have different ones."""
    shapes: list[tuple[int, ...]] = [
        tensors.models[entry.model].checkpoint.tensors[entry.stored].shape for entry in tensor.inputs
    ]
    first, vocabulary = tensor.inputs[0], tensors.vocabulary
    if vocabulary is not None and vocabulary.is_vocabulary_tensor(first.model, first.name):
        shapes = [(vocabulary.size, *shape[1:]) for shape in shapes]
    for entry, shape in zip(tensor.inputs, shapes, strict=True):
        if shape != shapes[0]:
            rows = shape[1:] == shapes[0][1:] and first.stored in tensors.matrices(first.model)
            hint = "add tokenizer: {source: union}, or base" if rows else "merge models of one architecture and size"
            raise CompatibilityError(
                f"{tensor.name} is {_times(shapes[0])} in {tensors.models[first.model].title} and {_times(shape)} in "
                f"{tensors.models[entry.model].title}",
                hint=hint,
            )
    return shapes[0]


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a number"


def _check_step(step: TensorStep, tried: set[Any]) -> TensorStep:
    """The step, checked by running its method on single numbers."""
    if step.method is None:
        return step
    parameters = dict(step.parameters or {})
    alike = step.method.name, step.base is None, step.weights, tuple(sorted(parameters.items()))
    if alike not in tried:
        try:
            step.method.check(parameters, len(step.experts), step.base is not None, step.weights)
        except UsageError as error:
            raise UsageError(f"{step.name}: {error.message}", hint=error.hint) from error
        tried.add(alike)
    return step


def common_dtype(dtypes: Sequence[str]) -> str:
    """The narrowest type that holds all numbers of these floating-point types."""
    found = set(dtypes)
    if len(found) == 1:
        return found.pop()
    for wide in ("float64", "float32"):
        if wide in found:
            return wide
    halves = [dtype for dtype in _SIXTEEN if dtype in found]
    return halves[0] if len(halves) == 1 else "float32" if halves else "float16" if found == set(_EIGHT) else "float32"
