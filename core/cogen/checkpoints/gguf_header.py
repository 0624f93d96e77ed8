"""The head of a GGUF file, read with limits before any library reads it.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: ``GGUF``, version, two counts; keys with typed values; names,
shapes, types and places of tensors. The library's own reader trusts every number in it, and makes a Python object of
every element of every array. Here each number is compared with the size of the file first.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Elements of all arrays together: the largest vocabulary, with its scores, kinds and merges, has a million.
_ELEMENTS = 3_000_000
_KEYS, _TENSORS, _NAME = 4096, 200_000, 1024
#: Values of a file: its own numbers of types → struct's, and bytes.
_SCALARS = {
    0: ("B", 1),
    1: ("b", 1),
    2: ("H", 2),
    3: ("h", 2),
    4: ("I", 4),
    5: ("i", 4),
    6: ("f", 4),
    7: ("?", 1),
    10: ("Q", 8),
    11: ("q", 8),
    12: ("d", 8),
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """``shape`` is in the order of other formats: rows first. ``kind``: name of its ggml type, such as "Q4_K"."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class GgufHeader:
    """``values``: of each key; of an array of texts its length alone."""

    values: dict[str, Any]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """llama.cpp's name, such as "llama"; "" where the file names none."""
        found = self.values.get("general.architecture")
        return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class TextCount:
    """Stands for an array of texts."""

    length: int


class GgufError(ValueError):
    """What is wrong with the file, in one line."""


def read_gguf_header(path: Path) -> GgufHeader:
    """Keys and tensors of a file; no tensor is read.

    :raises GgufError: it is not a whole GGUF file of version 2 or 3. :raises OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) < 24:
            raise GgufError("it is shorter than a GGUF file's head")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Head(data).read()
            except (struct.error, IndexError):
                raise GgufError("it ends inside its head") from None
            except UnicodeDecodeError:
                raise GgufError("a name in it is not UTF-8") from None


class _Head:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.elements = data, 0, 0

    def read(self) -> GgufHeader:
        if self.data[:4] != b"GGUF":
            raise GgufError("it does not begin with GGUF")
        self.at = 4
        (version,) = self._unpack("I", 4)
        if version in (2 << 24, 3 << 24):
            raise GgufError("it is written for big-endian machines")
        if version not in (2, 3):
            raise GgufError(f"it is of version {version}, and versions 2 and 3 are read")
        tensors, keys = self._unpack("QQ", 16)
        if keys > _KEYS or tensors > _TENSORS:
            raise GgufError(f"it announces {keys:,} keys and {tensors:,} tensors")
        values: dict[str, Any] = {}
        for _ in range(keys):
            key = self._text(_NAME)
            if key in values:
                raise GgufError(f"the key {key!a} stands in it twice")
            (kind,) = self._unpack("I", 4)
            values[key] = self._value(kind, key)
        return GgufHeader(values, self._tensors(tensors, values))

    def _unpack(self, form: str, size: int) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += size
        return found

    def _text(self, longest: int | None = None) -> str:
        (length,) = self._unpack("Q", 8)
        if length > len(self.data) - self.at or (longest is not None and length > longest):
            raise GgufError(f"it announces a text of {length:,} bytes")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def _skip_text(self) -> None:
        (length,) = self._unpack("Q", 8)
        if length > len(self.data) - self.at:
            raise GgufError(f"it announces a text of {length:,} bytes")
        self.at += length

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise GgufError(f"the key {key!a} is of the unknown type {kind}")
        value = self._unpack(*_SCALARS[kind])[0]
        if isinstance(value, float) and not math.isfinite(value):
            raise GgufError(f"the key {key!a} is {value}")
        return value

    def _array(self, key: str) -> Any:
        kind, length = self._unpack("IQ", 12)
        self.elements += length
        if self.elements > _ELEMENTS:
            raise GgufError(f"its arrays have more than {_ELEMENTS:,} elements (the key {key!a})")
        if kind == _STRING:
            for _ in range(length):
                self._skip_text()
            return TextCount(length)
        if kind not in _SCALARS:
            raise GgufError(f"the key {key!a} is an array of the unknown type {kind}")
        form, size = _SCALARS[kind]
        return self._unpack(f"{length}{form}", length * size)

    def _tensors(self, count: int, values: dict[str, Any]) -> dict[str, GgufTensor]:
        listed = []
        for _ in range(count):
            name = self._text(_NAME)
            (axes,) = self._unpack("I", 4)
            if not 1 <= axes <= 4:
                raise GgufError(f"tensor {name!a} has {axes} axes")
            shape = self._unpack(f"{axes}Q", 8 * axes)[::-1]
            kind, offset = self._unpack("IQ", 12)
            listed.append((name, shape, kind, offset))
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or isinstance(alignment, bool) or not 0 < alignment <= 1 << 16:
            raise GgufError(f"general.alignment is {alignment!a}")
        first = -(-self.at // alignment) * alignment
        found: dict[str, GgufTensor] = {}
        for name, shape, kind, offset in listed:
            if name in found:
                raise GgufError(f"the tensor {name!a} stands in it twice")
            label, size = _size(name, shape, kind)
            start = first + offset
            if offset % alignment or start + size > len(self.data):
                raise GgufError(f"the bytes of tensor {name!a} are not in the file: it is cut off or damaged")
            found[name] = GgufTensor(name, label, shape, start, start + size)
        ends = 0
        for tensor in sorted(found.values(), key=lambda one: (one.start, one.stop)):
            if tensor.start < ends:
                raise GgufError(f"the bytes of tensor {tensor.name!a} are also those of another one")
            ends = tensor.stop
        return found


def _size(name: str, shape: tuple[int, ...], kind: int) -> tuple[str, int]:
    """(name of the type, bytes) of a tensor."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        label = GGMLQuantizationType(kind)
        block, size = GGML_QUANT_SIZES[label]
    except (ValueError, KeyError):
        raise GgufError(f"tensor {name!a} is of type {kind}, which the installed gguf does not know") from None
    elements = math.prod(shape)
    if not elements or shape[-1] % block:
        raise GgufError(f"tensor {name!a} of shape {shape} cannot be of type {label.name}")
    return label.name, elements // block * size
