"""NaN and infinity in weights, found in their bytes: without torch, which a host alone does not have."""

from __future__ import annotations

from collections.abc import Mapping

from cogen.checkpoints.safetensors_file import TensorInfo, byte_blocks

#: dtype → bytes an element, then (place of a byte in an element, mask): a number is NaN or infinite where all bits of
#: its exponent are set (IEEE 754; bfloat16 and float8_e5m2 alike). Little-endian, as safetensors are.
_EXPONENTS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "float64": (8, ((7, 0x7F), (6, 0xF0))),
    "float32": (4, ((3, 0x7F), (2, 0x80))),
    "bfloat16": (2, ((1, 0x7F), (0, 0x80))),
    "float16": (2, ((1, 0x7C),)),
    "float8_e5m2": (1, ((0, 0x7C),)),
    "float8_e4m3fn": (1, ((0, 0x7F),)),  # has no infinity, and NaN where everything but the sign is set
}
_TABLES = {mask: bytes(byte & mask == mask for byte in range(256)) for mask in (0x7F, 0x80, 0xF0, 0x7C)}


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
