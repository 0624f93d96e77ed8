"""Carrying out a plan: which tensor is made how, and one folder that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.fusion.merge.shapes import changed_names, extents
from cogen.fusion.plan import Plan
from cogen.merging.block import Operand
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.method import Method
from cogen.merging.operands import Stored
from cogen.merging.parameters import Layers, for_tensor, resolve
from cogen.merging.writer import copy_model_files, write_outputs

if TYPE_CHECKING:
    from cogen.fusion.merge.tokenizer import CompositeTokenizer
    from cogen.merging.vocabulary import Vocabulary


def planned_outputs(
    plan: Plan,
    base: Checkpoint,
    experts: Sequence[Checkpoint],
    method: Method,
    engine: Engine,
    parameters: Mapping[str, Any] | None = None,
    grams: Mapping[str, Mapping[str, Any]] | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[OutputTensor]:
    """Every tensor of the composite in the base's stored dtype: merged, or the base's bytes.

    :param parameters: wins over the plan's: one point of a search.
    :param grams: of :func:`cogen.fusion.merge.calibration.calibrated`, for a method that needs them.
    :param vocabulary: of the base (0) and ``experts`` (1, 2 …), where they differ in it.
    """
    vocabulary = vocabulary and vocabulary.reading(engine.files)

    def operand(model: int, checkpoint: Checkpoint, name: str, key: str) -> Operand:
        if vocabulary is None or not vocabulary.is_vocabulary_tensor(model, name):
            return Stored(engine.files, checkpoint, name, key)
        stored = Stored(engine.files, checkpoint, vocabulary.stored_name(model, name), key)
        return vocabulary.operand(model, name, stored)

    common = {**plan.parameters, **(parameters or {})}
    if "scale" not in method.parameters:
        common.pop("scale", None)
    weights = {expert.id: common.pop(f"weight.{expert.id}", expert.weight) for expert in plan.experts}
    layers = Layers(base.names())
    changed = set(changed_names(base, experts, vocabulary))
    outputs = []
    for name, (dtype, shape) in extents(base, vocabulary).items():
        work: Copy | Merge
        if name not in changed:
            work = Copy(base.tensors[name])
        else:
            position = layers.position(name)
            own = [expert.parameters for expert in plan.experts]
            settings = for_tensor(name, position, common, own, method.per_expert)
            if grams is not None:
                settings["grams"] = tuple(grams[expert.id].get(name) for expert in plan.experts)
            root = operand(0, base, name, "base")
            operands = [
                operand(model, checkpoint, name, expert.weights_digest)
                for model, (expert, checkpoint) in enumerate(zip(plan.experts, experts, strict=True), 1)
            ]
            shares = [_weight(expert.id, weights[expert.id], name, position) for expert in plan.experts]
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


def write_composite(
    plan: Plan,
    base: Checkpoint,
    experts: Sequence[Checkpoint],
    method: Method,
    parameters: Mapping[str, Any],
    folder: Path,
    *,
    grams: Mapping[str, Mapping[str, Any]] | None = None,
    threads: int | None = None,
    progress: Any = None,
    lexicon: CompositeTokenizer | None = None,
) -> None:
    """A plain checkpoint: weights, config, tokenizer. ``folder`` exists and is empty.

    :param lexicon: of the plan's inputs; None: vocabulary and chat template are the base's.
    """
    vocabulary = lexicon.vocabulary if lexicon is not None else None
    with Engine(threads, progress) as engine:
        made = planned_outputs(plan, base, experts, method, engine, parameters, grams, vocabulary)
        write_outputs(made, engine, folder)
    if lexicon is None:
        copy_model_files(base.folder, folder)
    else:
        lexicon.write(base.folder, folder)
