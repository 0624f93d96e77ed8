"""What makes a safetensors file whole, by its header and its size alone: the rules of the library's own reader.

The library itself needs numpy to open a file, which the host alone does not have; a test compares the two on thousands
of headers. Twice this is stricter than the library, as the format's description is: the header begins with ``{``, and
no key stands in it twice. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from typing import Any

#: dtype → bits of an element.
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F8_E8M0": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
}
#: Sizes and offsets are unsigned words of 64 bits.
_LARGEST = (1 << 64) - 1


def check_header(header: bytes, size: int) -> None:
    """Every byte after the header belongs to exactly one tensor of the size that its dtype and shape give.

    :param header: the bytes after the eight of their length.
    :param size: bytes of the file after the header.
    :raises ValueError: otherwise; says what is wrong. :raises RecursionError: it is nested too deeply.
    """
    if header[:1] != b"{":  # "The header data MUST begin with a { character (0x7B)"
        raise ValueError("it begins with something else")
    document = json.loads(
        header.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_integer
    )
    metadata = document.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise ValueError("__metadata__ is not a table of texts")
    places = sorted((*_place(name, entry), name) for name, entry in document.items())
    end = 0
    for start, stop, name in places:
        if start != end:
            raise ValueError(f"tensor {name} begins at {start}, where {end} is due")
        end = stop
    if end != size:
        raise ValueError(f"its tensors have {end} bytes, {size} follow the header")


def _place(name: str, entry: Any) -> tuple[int, int]:
    """(first byte, byte after the last) of one tensor."""
    name.encode()  # a lone surrogate is not text
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ValueError(f"{name} is not a tensor")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"tensor {name} has the unknown dtype {str(dtype)[:40]}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise ValueError(f"tensor {name} has no shape, or not two offsets")
    bits = BITS[dtype]
    for number in (*shape, *offsets):
        if type(number) is not int or not 0 <= number <= _LARGEST:
            raise ValueError(f"tensor {name} has a shape or an offset that is no size")
    elements = 1
    for number in shape:
        elements *= number
        if elements > _LARGEST:
            raise ValueError(f"tensor {name} is too large")
    start, stop = offsets
    if elements * bits > _LARGEST or (stop - start) * 8 != elements * bits:
        raise ValueError(f"tensor {name} has {stop - start} bytes, not those of {dtype} in shape {shape}")
    return start, stop


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # "Duplicate keys are disallowed"
        raise ValueError("a key appears twice in its header")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> int | float:
    return int(text) if text != "-0" else -0.0
