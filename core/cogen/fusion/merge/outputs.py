"""Carrying out a plan: which tensor is made how, and one folder that appears whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CogenError, CompatibilityError
from cogen.fusion.merge.shapes import changed_names, extents
from cogen.fusion.plan import PlannedExpert
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.method import Method, Operand
from cogen.merging.operands import Stored
from cogen.merging.parameters import Layers, for_tensor, resolve
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.fusion.merge.tokenizer import CompositeTokenizer
    from cogen.merging.vocabulary import Vocabulary

#: A composite larger than this is written in shards; the Hub's own limit.
SHARD_BYTES = 5_000_000_000
#: What a checkpoint folder holds beside weights, as far as the base has it.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


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

    def write_model_files(self, folder: Path) -> None:
        """Configuration, tokenizer and chat template of the composite."""
        if self.tokenizer is None:
            copy_companions(self.base.folder, folder)
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
            work = Merge(method, None if method.base == "unused" else root, tuple(operands), tuple(shares), settings)
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


def write_outputs(
    outputs: Sequence[OutputTensor], engine: Engine, folder: Path, shard_bytes: int | None = None
) -> None:
    """The weights of a checkpoint folder: one file, or shards with an index.

    :raises CogenError: the disk is full, or cannot be written to.
    """
    needed = sum(output.nbytes for output in outputs)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _full(folder, needed)
    shards = _shards(outputs, shard_bytes or SHARD_BYTES)
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        for i in range(len(shards))
    ]
    try:
        for file, members in zip(names, shards, strict=True):
            engine.write(members, folder / file, {"format": "pt"})
        if len(shards) > 1:
            where = {output.name: file for file, members in zip(names, shards, strict=True) for output in members}
            index = {"metadata": {"total_size": needed}, "weight_map": dict(sorted(where.items()))}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder, needed) from error
        raise CogenError(f"{folder.parent} cannot be written: {error.strerror}", hint="name another folder") from error


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
    with Engine(threads, reporter) as engine:
        write_outputs(planned_outputs(job, engine, parameters), engine, folder)
    job.write_model_files(folder)


def copy_companions(source: Path, folder: Path) -> None:
    """Configuration and tokenizer of a model folder, as far as it has them."""
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _full(folder: Path, needed: int) -> CogenError:
    free = shutil.disk_usage(folder).free
    return CogenError(
        f"the disk is full: {math.ceil(needed / 1e6):,} MB are needed and {free // 1_000_000:,} MB are free",
        hint="make room, or name a folder on another disk with -o",
    )


def _shards(outputs: Sequence[OutputTensor], limit: int) -> list[list[OutputTensor]]:
    """In the order of names; a tensor larger than the limit has a shard to itself."""
    shards: list[list[OutputTensor]] = [[]]
    room = limit
    for output in sorted(outputs, key=lambda output: output.name):
        if shards[-1] and output.nbytes > room:
            shards.append([])
            room = limit
        shards[-1].append(output)
        room -= output.nbytes
    return shards
