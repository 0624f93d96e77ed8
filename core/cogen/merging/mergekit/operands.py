"""From a plan to the engine's outputs: every tensor with its operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.checkpoints.files import OpenFiles
from cogen.merging.block import Operand
from cogen.merging.engine import Copy, Merge, OutputTensor
from cogen.merging.mergekit.plan import MergePlan
from cogen.merging.mergekit.steps import TensorStep
from cogen.merging.mergekit.tensors import Input
from cogen.merging.operands import Derived, Stored

if TYPE_CHECKING:
    import torch


class Widened(Derived):
    """The same numbers as float32, so that the accumulator is float64."""

    @property
    def dtype(self) -> str:
        return "float32"


@dataclass(frozen=True)
class Converted(Derived):
    """The numbers rounded to the type ``to`` first, as a recipe's ``dtype`` asks."""

    to: str

    @property
    def dtype(self) -> str:
        return self.to

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.block.Operand`."""
        import torch

        exact = self.source.read(start, stop, torch.promote_types(dtype, getattr(torch, self.source.dtype)))
        return exact.to(getattr(torch, self.to)).to(dtype, copy=True)


def make_outputs(plan: MergePlan, keys: Sequence[str], files: OpenFiles) -> list[OutputTensor]:
    """The engine's outputs.

    :param keys: of the models, by number; they key random numbers and order the experts.
    """
    return [_output(step, plan, keys, files) for step in plan.steps]


def _output(step: TensorStep, plan: MergePlan, keys: Sequence[str], files: OpenFiles) -> OutputTensor:
    if step.method is None:
        (entry,) = step.experts
        info = plan.models[entry.model].checkpoint.tensors[entry.stored]
        return OutputTensor(step.name, step.dtype, step.shape, Copy(info))
    # float32 results, and recipes that ask for float64, are computed in float64 whatever the inputs are.
    wide = step.dtype in ("float32", "float64") or plan.recipe.dtype in ("float64", "torch.float64")

    cast = None if plan.recipe.dtype is None else plan.recipe.dtype.removeprefix("torch.")

    def operand(entry: Input) -> Operand:
        stored = Stored(files, plan.models[entry.model].checkpoint, entry.stored, keys[entry.model])
        vocabulary = plan.vocabulary
        found: Operand = stored
        if vocabulary is not None and vocabulary.is_vocabulary_tensor(entry.model, entry.name):
            found = vocabulary.operand(entry.model, entry.name, stored)
        if cast is not None and narrower(cast, found.dtype):
            found = Converted(found, cast)
        return Widened(found) if wide else found

    base = None if step.base is None else operand(step.base)
    experts = tuple(operand(entry) for entry in step.experts)
    titles = tuple(plan.models[entry.model].title for entry in step.experts)
    merge = Merge(step.method, base, experts, step.weights, dict(step.parameters or {}), titles)
    return OutputTensor(step.name, step.dtype, step.shape, merge)


def narrower(to: str, stored: str) -> bool:
    """Does the type ``to`` lack numbers that the type ``stored`` has?"""
    import torch

    kinds = getattr(torch, to), getattr(torch, stored)
    return bool(torch.promote_types(*kinds) != kinds[0])
