"""Carrying out a plan: which tensor is made how, and one folder that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.fusion.merge.shapes import changed_names, extents
from cogen.fusion.plan import PlannedExpert
from cogen.merging.block import Operand
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.method import Method
from cogen.merging.operands import Stored
from cogen.merging.parameters import Layers, for_tensor, resolve
from cogen.merging.writer import copy_model_files, write_outputs
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.fusion.merge.tokenizer import CompositeTokenizer
    from cogen.merging.vocabulary import Vocabulary


@dataclass(frozen=True)
class MergeJob:
    """Everything that decides the weights of a merge, but for the point of a search.

    :param experts: opened, in the order of ``planned``.
    :param parameters: the plan's, of the method.
    :param grams: of :func:`cogen.fusion.merge.calibration.calibrate`, for a method that needs them.
    :param tokenizer: of the composite, where it is not the base's.
    """

    method: Method
    base: Checkpoint
    experts: Sequence[Checkpoint]
    planned: Sequence[PlannedExpert]
    parameters: Mapping[str, Any]
    grams: Mapping[str, Mapping[str, Any]] | None = None
    tokenizer: CompositeTokenizer | None = None

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Of the base (0) and the experts (1, 2 …), where they differ in it."""
        return None if self.tokenizer is None else self.tokenizer.vocabulary

    @property
    def config_changes(self) -> Mapping[str, Any]:
        """To be put over a configuration that is made from the base's."""
        return {} if self.tokenizer is None else self.tokenizer.tokens

    def write_model_files(self, folder: Path) -> None:
        """Configuration, tokenizer and chat template of the composite."""
        if self.tokenizer is None:
            copy_model_files(self.base.folder, folder)
        else:
            self.tokenizer.write(self.base.folder, folder)


def planned_outputs(job: MergeJob, engine: Engine, parameters: Mapping[str, Any] | None = None) -> list[OutputTensor]:
    """Every tensor of the composite in the base's stored dtype: merged, or the base's bytes.

    :param parameters: wins over the job's: one point of a search. A weight is called ``weight.ID``.
    """
    base, method = job.base, job.method
    vocabulary = job.vocabulary and job.vocabulary.reading(engine.files)

    def operand(model: int, checkpoint: Checkpoint, name: str, key: str) -> Operand:
        if vocabulary is None or not vocabulary.is_vocabulary_tensor(model, name):
            return Stored(engine.files, checkpoint, name, key)
        stored = Stored(engine.files, checkpoint, vocabulary.stored_name(model, name), key)
        return vocabulary.operand(model, name, stored)

    common = {**job.parameters, **(parameters or {})}
    if "scale" not in method.parameters:
        common.pop("scale", None)
    weights = {expert.id: common.pop(f"weight.{expert.id}", expert.weight) for expert in job.planned}
    layers = Layers(base.names())
    changed = set(changed_names(base, job.experts, vocabulary))
    outputs = []
    for name, (dtype, shape) in extents(base, vocabulary).items():
        work: Copy | Merge
        if name not in changed:
            work = Copy(base.tensors[name])
        else:
            position = layers.position(name)
            own = [expert.parameters for expert in job.planned]
            settings = for_tensor(name, position, common, own, method.per_expert)
            if job.grams is not None:
                settings["grams"] = tuple(job.grams[expert.id].get(name) for expert in job.planned)
            root = operand(0, base, name, "base")
            operands = [
                operand(model, checkpoint, name, expert.weights_digest)
                for model, (expert, checkpoint) in enumerate(zip(job.planned, job.experts, strict=True), 1)
            ]
            shares = [_weight(expert.id, weights[expert.id], name, position) for expert in job.planned]
            if method.pairs_with_base(len(operands)):
                operands, shares = [root, *operands], [1.0, *shares]
            titles = [expert.id for expert in job.planned]
            if len(titles) < len(operands):
                titles = ["the base", *titles]
            used = None if method.base == "unused" else root
            work = Merge(method, used, tuple(operands), tuple(shares), settings, tuple(titles))
        outputs.append(OutputTensor(name, dtype, shape, work))
    return outputs


def _weight(id: str, setting: Any, name: str, position: float) -> float:
    found = resolve(setting, name, position)
    if found is None:
        raise CompatibilityError(f"no condition gives {id} a weight for {name}", hint="add one without a filter")
    return float(found)


def write_candidate(outputs: Sequence[OutputTensor], engine: Engine, file: Path) -> None:
    """Only the merged tensors, in one file."""
    engine.write([output for output in outputs if isinstance(output.work, Merge)], file)


def write_composite(
    job: MergeJob,
    parameters: Mapping[str, Any],
    folder: Path,
    *,
    threads: int | None = None,
    reporter: Reporter = SILENT,
) -> None:
    """A plain checkpoint: weights, config, tokenizer. ``folder`` exists and is empty.

    :param parameters: see :func:`planned_outputs`.
    """
    with Engine(threads, reporter, verified=True) as engine:
        write_outputs(planned_outputs(job, engine, parameters), engine, folder)
    job.write_model_files(folder)
