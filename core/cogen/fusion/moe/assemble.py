"""Every tensor of a mixture, and where it comes from: copied, computed block by block, or the same as in another one.

Expert 0 of a mixture is the base's own feed-forward blocks (the public expert); the others follow in the order of their
weights digests. Everything else is the base's, or merged where experts changed it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.fusion.moe.operands import Folded, Padded
from cogen.fusion.moe.targets import PARTS, SHARED_WIDTH, MoeArchitecture, ffn_tensor
from cogen.merging.block import InMemory, Operand
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.method import Method
from cogen.merging.operands import Stored

if TYPE_CHECKING:
    import torch


#: The embedding, and the head that turns states into logits.
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True)
class ExpertSlot:
    """One expert of the mixture: a model whose feed-forward blocks are taken. ``id`` is "base" or an expert's."""

    id: str
    checkpoint: Checkpoint
    key: str


@dataclass(frozen=True)
class Mixture:
    """What is assembled.

    :param slots: in their order; ``layers``, ``hidden``: of the base; ``width``: of every expert, after padding.
    :param rows: the routers, shape (layers, slots, hidden).
    :param servable: of the plan.
    :param kept: expert's id → its index in ``of``, an earlier mixture that holds the same expert's tensors.
    """

    target: MoeArchitecture
    slots: tuple[ExpertSlot, ...]
    layers: int
    hidden: int
    width: int
    rows: torch.Tensor
    of: Checkpoint | None = None
    kept: Mapping[str, int] = dataclasses.field(default_factory=dict)
    servable: bool = False


def layers_of(base: Checkpoint) -> int:
    """Number of layers, by the names of the feed-forward tensors.

    :raises CompatibilityError: a layer lacks one of its three projections.
    """
    found = {place for name in base.tensors if (place := ffn_tensor(name))}
    layers = 1 + max((layer for layer, _ in found), default=-1)
    if not layers or len(found) != layers * len(PARTS):
        raise CompatibilityError(
            "the base's feed-forward blocks are not gate_proj, up_proj and down_proj in every layer",
            hint="merge its experts: --strategy merge",
        )
    return layers


def width_of(checkpoint: Checkpoint) -> int:
    """Intermediate size: rows of the gate projections, the largest of all layers."""
    widths: list[int] = [
        i.shape[0] for n, i in checkpoint.tensors.items() if (place := ffn_tensor(n)) and place[1] == "gate_proj"
    ]
    return max(widths)


def shared_outputs(outputs: Sequence[OutputTensor], target: MoeArchitecture, layers: int) -> list[OutputTensor]:
    """Of the outputs of a merge, those that a mixture has too; folded norms are left out."""
    norms = {target.norm.format(layer=layer) for layer in range(layers)} if target.norm else set()
    return [output for output in outputs if ffn_tensor(output.name) is None and output.name not in norms]


def mixture_extents(
    base: Checkpoint, target: MoeArchitecture, layers: int, hidden: int, width: int, slots: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor of the mixture, by name."""
    found = {name: (info.dtype, info.shape) for name, info in base.tensors.items() if ffn_tensor(name) is None}
    extents = {"shared": SHARED_WIDTH, "hidden": hidden, "one": 1}
    for layer in range(layers):
        kind = base.tensors[f"model.layers.{layer}.mlp.gate_proj.weight"].dtype
        found[target.gate(layer)] = kind, (slots, hidden)
        for name, axes in target.shared.items():
            found[name.format(layer=layer)] = kind, tuple(extents[axis] for axis in axes)
        for slot in range(slots):
            for part in PARTS:
                shape = (hidden, width) if part == "down_proj" else (width, hidden)
                found[target.tensor(layer, slot, part)] = kind, shape
    return dict(sorted(found.items()))


def mixture_outputs(
    base: Checkpoint, mixture: Mixture, shared: Sequence[OutputTensor], engine: Engine, identity: Method
) -> list[OutputTensor]:
    """All tensors of the checkpoint.

    :param shared: of :func:`shared_outputs`.
    :param identity: a method that gives its only operand.
    """
    target, norms = mixture.target, []
    for layer in range(mixture.layers) if target.norm is not None else ():
        info = base.tensors[str(target.norm).format(layer=layer)]
        norms.append(OutputTensor(info.name, info.dtype, info.shape, Copy(info)))
    return [*shared, *norms, *expert_outputs(base, mixture, engine, identity)]


def expert_outputs(base: Checkpoint, mixture: Mixture, engine: Engine, identity: Method) -> list[OutputTensor]:
    """Routers, experts, and what else the architecture has in the place of a feed-forward block."""
    import torch

    target = mixture.target
    outputs: list[OutputTensor] = []
    extents = mixture_extents(base, target, mixture.layers, mixture.hidden, mixture.width, len(mixture.slots))

    def small(name: str, tensor: torch.Tensor) -> None:
        dtype, shape = extents[name]
        work = Merge(identity, None, (InMemory(tensor.to(getattr(torch, dtype)), "given"),), (1.0,))
        outputs.append(OutputTensor(name, dtype, shape, work))

    for layer in range(mixture.layers):
        small(target.gate(layer), mixture.rows[layer])
        for pattern, axes in target.shared.items():
            name = pattern.format(layer=layer)
            # What gates the shared expert, which adds nothing, is of no account, but llama.cpp divides by it.
            gate = mixture.servable and axes[0] == "one"
            small(name, torch.full(extents[name][1], 1.0 if gate else 0.0))
        for number, slot in enumerate(mixture.slots):
            for part in PARTS:
                name = target.tensor(layer, number, part)
                outputs.append(_expert(name, *extents[name], layer, part, slot, base, mixture, engine, identity))
    return outputs


def _expert(
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    layer: int,
    part: str,
    slot: ExpertSlot,
    base: Checkpoint,
    mixture: Mixture,
    engine: Engine,
    identity: Method,
) -> OutputTensor:
    if mixture.of is not None and slot.id in mixture.kept:
        old = mixture.of.tensors[mixture.target.tensor(layer, mixture.kept[slot.id], part)]
        return OutputTensor(name, dtype, shape, Copy(old))
    operand = expert_operand(shape, layer, part, slot, base, mixture.target, engine)
    plain = isinstance(operand, Stored) and operand.plain and operand.dtype == dtype
    work: Copy | Merge = Copy(slot.checkpoint.tensors[_dense(layer, part)])
    if not plain:
        work = Merge(identity, None, (operand,), (1.0,), titles=(slot.id,))
    return OutputTensor(name, dtype, shape, work)


def expert_operand(
    shape: tuple[int, ...],
    layer: int,
    part: str,
    slot: ExpertSlot,
    base: Checkpoint,
    target: MoeArchitecture,
    engine: Engine,
) -> Operand:
    """One projection of an expert, behind the base's norm and padded to ``shape``."""
    operand: Operand = Stored(engine.files, slot.checkpoint, _dense(layer, part), slot.key)
    ratio = None if part == "down_proj" else norm_ratio(base, slot.checkpoint, target, layer)
    if ratio is not None:
        operand = Folded(operand, ratio)
    return operand if operand.shape == shape else Padded(operand, shape)


def _dense(layer: int, part: str) -> str:
    return f"model.layers.{layer}.mlp.{part}.weight"


def norm_ratio(base: Checkpoint, expert: Checkpoint, target: MoeArchitecture, layer: int) -> torch.Tensor | None:
    """``own / common`` weights of the norm before the experts in float64; ``None`` where they are equal.

    :raises CompatibilityError: a norm weight is zero in the base and not in the expert, which cannot be folded.
    """
    import torch

    if target.norm is None:
        return None
    name = target.norm.format(layer=layer)
    if expert.adapter is not None and not expert.changed(name):
        return None
    common, own = base.read(name, torch.float64), expert.read(name, torch.float64)
    if torch.equal(common, own):
        return None
    if bool(((common == 0) & (own != 0)).any()):
        raise CompatibilityError(
            f"norm weight {name} is zero in the base and not in the expert, so it cannot be folded",
            hint="merge the experts: --strategy merge",
        )
    return torch.where(common == 0, torch.ones_like(own), own / common)
