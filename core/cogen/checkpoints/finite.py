"""NaN and infinity in weights: in tensors in memory, and in the bytes of files, without torch, as a host alone is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.safetensors_file import TensorInfo, byte_blocks
from cogen.errors import CompatibilityError

if TYPE_CHECKING:
    import torch

#: dtype → bytes an element, then (place of a byte in an element, mask): a number is NaN or infinite where all bits of
#: its exponent are set (IEEE 754; bfloat16 and float8_e5m2 alike). Little-endian, as safetensors are.
_EXPONENTS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "float64": (8, ((7, 0x7F), (6, 0xF0))),
    "float32": (4, ((3, 0x7F), (2, 0x80))),
    "bfloat16": (2, ((1, 0x7F), (0, 0x80))),
    "float16": (2, ((1, 0x7C),)),
    "float8_e5m2": (1, ((0, 0x7C),)),
    "float8_e4m3fn": (1, ((0, 0x7F),)),  # has no infinity, and NaN where everything but the sign is set
    "float8_e8m0fnu": (1, ((0, 0xFF),)),  # has no sign either
}
#: Elements that are looked at together, so that a core's cache holds them.
_IN_CACHE = 1 << 18
_TABLES = {mask: bytes(byte & mask == mask for byte in range(256)) for mask in (0x7F, 0x80, 0xF0, 0x7C, 0xFF)}


def all_finite(tensor: torch.Tensor) -> bool:
    """Is every element a number? Of a tensor that was just read this takes a fifth of the time of its SHA-256."""
    import torch

    if not tensor.dtype.is_floating_point or not tensor.numel():
        return True
    if tensor.dtype in (torch.float16, torch.bfloat16):
        # Without its sign a number that is none is at least infinity, as bits; whole numbers are compared fastest.
        infinity = 0x7C00 if tensor.dtype == torch.float16 else 0x7F80
        bits: Any = tensor.detach().reshape(-1).view(torch.int16)
        return all(int((part & 0x7FFF).amax()) < infinity for part in bits.split(_IN_CACHE))
    wide = tensor if tensor.dtype.itemsize > 1 else tensor.float()
    # A finite sum proves that all are finite and reads them once; where it overflows itself, each number is looked at.
    total = wide.sum(dtype=torch.float64 if wide.dtype == torch.float64 else torch.float32)
    return bool(total.isfinite()) or bool(wide.isfinite().all())


def check_numbers(tensor: torch.Tensor, name: str, owner: str) -> None:
    """
    :param tensor: as it was read, or will be stored; called ``name``.
    :param owner: the model, adapter or file that it belongs to.
    :raises CompatibilityError: it holds NaN or infinity: nothing could be computed with it, and nothing would say why.
    """
    if not all_finite(tensor):
        raise CompatibilityError(
            f"{name} of {owner} holds NaN or infinity: nobody can use these weights",
            hint="take another version of it, or ask its publisher; trained here? lower the learning rate",
        )


def check_model(model: Any, owner: str) -> None:
    """As :func:`check_numbers`, of every parameter and buffer of a ``torch`` module that is going to be stored."""
    for name, tensor in model.state_dict().items():
        check_numbers(tensor, name, owner)


def first_not_finite(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name of the first tensor that holds NaN or infinity; ``None``: all are numbers."""
    return next((name for name, info in sorted(tensors.items()) if not _is_finite(info)), None)


def _is_finite(info: TensorInfo) -> bool:
    if info.dtype not in _EXPONENTS:
        return True
    width, exponent = _EXPONENTS[info.dtype]
    for block in byte_blocks(info):
        found = -1  # all bits set
        for place, mask in exponent:
            found &= int.from_bytes(bytes(block[place::width]).translate(_TABLES[mask]), "little")
        if found:
            return False
    return True
