"""Exact concatenation of LoRA adapters: one adapter whose difference is the weighted sum of theirs.

``Σ wᵢ sᵢ Bᵢ Aᵢ = [w₁s₁B₁ … wₙsₙBₙ] · [A₁; …; Aₙ]``: the ranks add up, nothing is approximated. (Averaging the A and
the B of adapters one by one, peft's "linear", gives cross terms ``Bᵢ Aⱼ`` instead.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.adapter import LoraAdapter
from cogen.checkpoints.adapter_config import read_config
from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import read_tensor
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.lora.write import write_adapter

if TYPE_CHECKING:
    import torch

    #: Factors as they are stored, and the number that B is still to be multiplied with.
    Part = tuple[torch.Tensor, torch.Tensor, float]


def write_concatenated(
    adapters: Sequence[LoraAdapter],
    weights: Sequence[float],
    folder: Path,
    *,
    base: str | None = None,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Write the concatenation as a PEFT folder and return its factors; ``folder`` exists and is empty.

    :param base: the name of the base, needed where the adapters name different ones.
    """
    root, task = base_name(adapters, base), _common_option(adapters, "task_type")
    factors = concatenate(adapters, weights)
    write_adapter(folder, factors, base=root, task_type=task)
    return factors


def concatenate(
    adapters: Sequence[LoraAdapter], weights: Sequence[float]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module → (A of shape (Σ rᵢ, in), B of shape (out, Σ rᵢ)), whose product is ``Σ wᵢ·deltaᵢ`` with no further scale.

    The factors keep their stored type where multiplying by ``wᵢ·scaleᵢ`` loses nothing in it (powers of two, which most
    scales are). Otherwise all are widened to float32: A without loss, B by one rounding, so that every product is the
    exact one to 2⁻²⁴ of itself (where B stays a normal float32 number). Adapters with the weight 0 are left out.

    :raises UsageError: a weight is not finite, or nothing is left.
    :raises CompatibilityError: adapters have other shapes for one module.
    """
    import torch

    check_weights(adapters, weights)
    for adapter in adapters:
        if not adapter.plain:
            raise CompatibilityError(
                f"the adapter {adapter.folder.name} holds more than LoRA factors of linear layers (DoRA, biases, "
                "embeddings or whole modules), which one LoRA adapter cannot hold",
                hint="merge it into its base: `cogen adapter merge BASE ADAPTER… -o FOLDER`",
            )
    parts: dict[str, list[Part]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for name, (info_a, info_b, scale) in sorted(adapter.pairs.items()):
            found = parts.setdefault(name.removesuffix(".weight"), [])
            if found and (found[0][0].shape[1], found[0][1].shape[0]) != (info_a.shape[1], info_b.shape[0]):
                raise CompatibilityError(
                    f"the adapters have different shapes for {name}: {_shape(found[0])} and "
                    f"{info_b.shape[0]} × {info_a.shape[1]} in {adapter.folder.name}",
                    hint="concatenate adapters of one base",
                )
            found.append((read_tensor(info_a), read_tensor(info_b), weight * scale))
    kept = {module: [p for p in found if p[2] != 0.0] for module, found in parts.items()}
    every = [part for found in kept.values() for part in found]
    if not every:
        raise UsageError("every weight is 0", hint="give at least one adapter another weight")
    dtype = _dtype(every)
    factors = {}
    for module, found in sorted(kept.items()):
        if found:
            columns = torch.cat([(b.double() * factor).to(dtype) for _, b, factor in found], dim=1)
            if not columns.isfinite().all():
                raise UsageError(f"the factors of {module} are not finite", hint="choose smaller weights")
            factors[module] = torch.cat([a.to(dtype) for a, _, _ in found]), columns
    return factors


def _dtype(parts: Sequence[Part]) -> torch.dtype:
    """The one type of all factors if B takes its number without loss there, else float32 (float64 if one is)."""
    import torch

    widest = parts[0][0].dtype
    for a, b, _ in parts:
        widest = torch.promote_types(torch.promote_types(widest, a.dtype), b.dtype)
    products = (b.double() * factor for _, b, factor in parts)
    exact = all(torch.equal(product.to(widest).double(), product) for product in products)
    return widest if exact else torch.promote_types(widest, torch.float32)


def _shape(part: Part) -> str:
    return f"{part[1].shape[0]} × {part[0].shape[1]}"


def check_weights(adapters: Sequence[LoraAdapter], weights: Sequence[float]) -> None:
    """:raises UsageError: no adapter, or a weight that is not a finite number."""
    if not adapters:
        raise UsageError("no adapter given", hint="give at least one, as FOLDER or FOLDER=WEIGHT")
    for adapter, weight in zip(adapters, weights, strict=True):
        if not math.isfinite(weight):
            raise UsageError(f"the weight of {adapter.folder.name} is {weight}", hint="give a finite number")


def fitted(base: Checkpoint, adapter: LoraAdapter) -> LoraAdapter:
    """The adapter as it applies to the base.

    :raises CompatibilityError: it changes a tensor that the base lacks or has in another shape.
    """
    found = base.with_adapter(adapter).adapter
    assert found is not None
    return found


def base_name(adapters: Sequence[LoraAdapter], given: str | None = None) -> str | None:
    """What the adapters call their base: ``None`` where none says it.

    :raises CompatibilityError: they name different ones, and none was ``given``.
    """
    if given is not None:
        return given
    named = {
        str(name).rstrip("/"): adapter for adapter in adapters if (name := _config(adapter, "base_model_name_or_path"))
    }
    if len(named) > 1:
        (one, first), (other, second) = list(named.items())[:2]
        raise CompatibilityError(
            f"the adapters name different bases: {one} ({first.folder.name}) and {other} ({second.folder.name})",
            hint="if they are the same model, give it with --base",
        )
    return next(iter(named), None)


def _common_option(adapters: Sequence[LoraAdapter], option: str) -> Any:
    values = [_config(adapter, option) for adapter in adapters]
    return values[0] if all(value == values[0] for value in values) else None


def _config(adapter: LoraAdapter, option: str) -> Any:
    return read_config(adapter.folder).get(option)
