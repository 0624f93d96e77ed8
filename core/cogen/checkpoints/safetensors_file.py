"""Reading safetensors: headers first, tensors by byte range, nothing executed.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON
header ``{name: {dtype, shape, data_offsets}}``, then the bytes of the tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.errors import SourceError, UnsafeError

if TYPE_CHECKING:
    import torch

#: safetensors name → (torch name, bytes an element).
DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
    "U16": ("uint16", 2),
    "U32": ("uint32", 4),
    "U64": ("uint64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
}
#: torch name → bytes an element.
WIDTHS = dict(DTYPES.values())
_MAX_HEADER = 100 << 20
#: Sizes and offsets are unsigned words of 64 bits.
_LARGEST = (1 << 64) - 1
#: Bytes that :func:`byte_blocks` gives at once; a multiple of every element's.
_BLOCK = 1 << 22
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


#: ``fill(info, view, position)`` reads ``len(view)`` bytes from ``position`` of ``info.file``.
Fill = Callable[["TensorInfo", memoryview, int], None]


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: ``dtype`` is the torch name, ``start``/``stop`` are absolute byte offsets in ``file``.

    Who reads a tensor uses :meth:`load`: of a quantized one (:class:`cogen.checkpoints.scaled.ScaledInfo`) the bytes of
    the file are not those of its numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Of its numbers."""
        return self.numel * WIDTHS[self.dtype]

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """What of it lies in files."""
        return (self,)

    def load(self, fill: Fill, start: int, stop: int, into: memoryview) -> None:
        """The elements [start, stop) of the flattened tensor, as little-endian bytes.

        :raises SourceError: ``fill`` found the file's end before them.
        """
        fill(self, into, self.start + start * WIDTHS[self.dtype])


def read_header(path: Path) -> dict[str, TensorInfo]:
    """All tensors of one file, from its header alone; refuses a truncated or inconsistent file."""
    hint = "the file is damaged or incomplete: fetch it again (`cogen cache clear`)"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise SourceError(f"{path.name} is not a whole safetensors file", hint=hint)
            header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_once)
        tensors = {}
        _check_notes(header.pop("__metadata__", {}))
        for name, entry in header.items():
            name.encode()  # half a surrogate pair is no text
            if isinstance(entry["dtype"], str) and entry["dtype"] not in DTYPES:
                raise SourceError(
                    f"{path.name}: tensor {name} has the dtype {entry['dtype']}",
                    hint=f"CoGen reads {', '.join(DTYPES)}; convert the model to bfloat16",
                )
            dtype, width = DTYPES[entry["dtype"]]
            start, stop = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if any(
                type(n) is not int or not 0 <= n <= _LARGEST for n in (start, stop, *shape)
            ) or stop - start != width * math.prod(shape):
                raise SourceError(f"{path.name}: tensor {name} has the wrong number of bytes", hint=hint)
            tensors[name] = TensorInfo(name, dtype, shape, path, 8 + length + start, 8 + length + stop)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check that the file exists") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{path.name} has a damaged safetensors header", hint=hint) from error
    # Every byte belongs to one tensor: no holes, nothing shared, nothing behind the last one.
    end = 8 + length
    for info in sorted(tensors.values(), key=lambda info: (info.start, info.stop)):
        if info.start != end:
            raise SourceError(f"{path.name}: the bytes of tensor {info.name} overlap others or leave a hole", hint=hint)
        end = info.stop
    if end != size:
        raise SourceError(f"{path.name} has {size:,} bytes where its header announces {end:,}", hint=hint)
    return tensors


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """:raises ValueError: a key that stands twice, of which readers take different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _check_notes(notes: object) -> None:
    """:raises ValueError: something else than texts by name, which no other reader takes."""
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise ValueError("__metadata__ is not a table of texts")


def read_notes(path: Path) -> dict[str, str]:
    """What the header of a file that :func:`read_header` has read says beside its tensors (``__metadata__``)."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    notes = header.get("__metadata__")
    return {str(name): str(value) for name, value in notes.items()} if isinstance(notes, dict) else {}


def read_folder(folder: Path) -> dict[str, TensorInfo]:
    """All tensors of a checkpoint folder: one file, or shards with an index.

    As in transformers, ``model.safetensors`` goes before an index; without either every file counts.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise UnsafeError(
                f"{folder.name} holds {pickles[0]}, a pickle, which can run code when it is read",
                hint="ask the publisher for safetensors; convert only in a place where running its code is safe",
            )
    index = folder / "model.safetensors.index.json"
    where: dict[str, str] = {}
    if (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    elif index.is_file():
        where = _read_index(index)
        files = [folder / name for name in sorted(set(where.values()))]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise SourceError(f"{folder.name} lacks the shard {missing[0]}", hint="fetch the model again")
    if not files:
        raise SourceError(f"{folder} holds no safetensors file", hint="a model folder needs at least one *.safetensors")
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in read_header(file).items():
            if name in tensors:
                raise SourceError(
                    f"{folder.name} holds the tensor {name} twice, in {tensors[name].file.name} and {file.name}",
                    hint="fetch the model again, or remove the file that does not belong to it",
                )
            tensors[name] = info
    for name, shard in where.items():
        if name not in tensors or tensors[name].file.name != shard:
            raise SourceError(
                f"the shard {shard} of {folder.name} lacks the tensor {name}", hint="fetch the model again"
            )
    return tensors


def _read_index(index: Path) -> dict[str, str]:
    """Tensor name → file name, of a sharded checkpoint; names that lead out of the folder are damage."""
    try:
        where: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not where or any(Path(name).name != name for name in where.values()):
            raise ValueError(f"no shards, or shards elsewhere: {where}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{index.parent.name} has a damaged {index.name}", hint="fetch the model again") from error
    return where


def read_bytes(info: TensorInfo) -> bytearray:
    """The bytes of the tensor's numbers."""
    data = bytearray(info.nbytes)
    if data:
        info.load(_fill, 0, info.numel, memoryview(data))
    return data


def byte_blocks(info: TensorInfo) -> Iterator[memoryview]:
    """As :func:`read_bytes`, a block at a time; each is only valid until the next."""
    width = WIDTHS[info.dtype]
    step = _BLOCK // width
    data = memoryview(bytearray(min(_BLOCK, info.nbytes)))
    for start in range(0, info.numel, step):
        stop = min(start + step, info.numel)
        view = data[: (stop - start) * width]
        info.load(_fill, start, stop, view)
        yield view


def _fill(info: TensorInfo, view: memoryview, position: int) -> None:
    try:
        with info.file.open("rb", buffering=0) as file:
            file.seek(position)
            while len(view):
                count = file.readinto(view)
                if not count:
                    raise SourceError(
                        f"{info.file.name} ended inside tensor {info.name}", hint="the file changed: start over"
                    )
                view = view[count:]
    except OSError as error:
        raise SourceError(f"{info.file} cannot be read: {error.strerror}", hint="check the file") from error


def read_tensor(info: TensorInfo) -> torch.Tensor:
    """The tensor in its stored dtype."""
    import torch

    if info.numel == 0:
        return torch.empty(info.shape, dtype=getattr(torch, info.dtype))
    return torch.frombuffer(read_bytes(info), dtype=getattr(torch, info.dtype)).reshape(info.shape)
