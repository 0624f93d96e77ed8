"""From a plan to what the engine does: every tensor with its operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.checkpoints.files import OpenFiles
from cogen.merging.engine import Copy, Merge, OutputTensor
from cogen.merging.mergekit.plan import MergePlan
from cogen.merging.mergekit.steps import TensorStep
from cogen.merging.mergekit.tensors import Input
from cogen.merging.method import Operand
from cogen.merging.operands import Stored

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Widened:
    """The same numbers, taken for those of a wider type: the arithmetic is then one wider too."""

    operand: Operand
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.operand.shape

    @property
    def key(self) -> str:
        return self.operand.key

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.method.Operand`."""
        return self.operand.read(start, stop, dtype)


@dataclass(frozen=True)
class Converted:
    """The numbers rounded to another type first, as a recipe's ``dtype`` wants it."""

    operand: Operand
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.operand.shape

    @property
    def key(self) -> str:
        return self.operand.key

    def read(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """See :class:`cogen.merging.method.Operand`."""
        import torch

        exact = self.operand.read(start, stop, torch.promote_types(dtype, getattr(torch, self.operand.dtype)))
        return exact.to(getattr(torch, self.dtype)).to(dtype, copy=True)


def make_outputs(plan: MergePlan, keys: Sequence[str], files: OpenFiles) -> list[OutputTensor]:
    """
    :param keys: of the models, by number: what random numbers and the order of the experts hang on.
    """
    return [_output(work, plan, keys, files) for work in plan.works]


def _output(work: TensorStep, plan: MergePlan, keys: Sequence[str], files: OpenFiles) -> OutputTensor:
    if work.method is None:
        (entry,) = work.experts
        info = plan.models[entry.model].checkpoint.tensors[entry.stored]
        return OutputTensor(work.name, work.dtype, work.shape, Copy(info))
    # float32 results, and recipes that ask for float64, are computed in float64 whatever the inputs are.
    wide = work.dtype in ("float32", "float64") or plan.recipe.dtype in ("float64", "torch.float64")

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

    base = None if work.base is None else operand(work.base)
    experts = tuple(operand(entry) for entry in work.experts)
    merge = Merge(work.method, base, experts, work.weights, dict(work.parameters or {}))
    return OutputTensor(work.name, work.dtype, work.shape, merge)


def narrower(to: str, stored: str) -> bool:
    """Does the one type lack numbers that the other has?"""
    import torch

    kinds = getattr(torch, to), getattr(torch, stored)
    return torch.promote_types(*kinds) != kinds[0]
