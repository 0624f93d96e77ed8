"""Writing safetensors: the header first, then tensors in any order by any thread."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cogen.checkpoints.files import OpenFiles, write_all
from cogen.checkpoints.finite import all_finite
from cogen.checkpoints.safetensors_file import DTYPES, TensorInfo
from cogen.errors import CompatibilityError

if TYPE_CHECKING:
    import torch

#: torch name → safetensors name.
_NAMES = {torch_name: name for name, (torch_name, _) in DTYPES.items()}


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """Raw little-endian bytes of a CPU tensor."""
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy().data) if flat.numel() else memoryview(b"")


class SafetensorsWriter:
    """One file, written in any order by any thread: sizes are known beforehand, so the header goes first.

    The whole file is allocated at once, so that a full disk is found out before any work is done.

    :param shapes: name → (torch dtype name, shape); laid out by element size, then by name.
    """

    def __init__(
        self, path: Path, shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
    ) -> None:
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        offset = 0
        # Wide types first: a reader that maps the file wants each tensor at a multiple of its element's size.
        for name in sorted(shapes, key=lambda name: (-DTYPES[_NAMES[shapes[name][0]]][1], name)):
            dtype, shape = shapes[name]
            kind = _NAMES[dtype]
            size = DTYPES[kind][1] * math.prod(shape)
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._places = {
            name: (8 + len(text) + entry["data_offsets"][0], 8 + len(text) + entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        }
        self._left = {name: stop - start for name, (start, stop) in self._places.items()}
        self._lock = threading.Lock()
        self._file = path.open("wb")
        try:
            self._file.write(len(text).to_bytes(8, "little") + text)
            self._file.flush()
            _allocate(self._file.fileno(), 8 + len(text) + offset)
        except BaseException:
            self._file.close()
            raise

    def write(self, name: str, tensor: torch.Tensor | bytes | bytearray) -> None:
        """Put a tensor, or its raw bytes, at its final place; each exactly once, in any order.

        :raises CompatibilityError: the tensor holds NaN or infinity.
        """
        if isinstance(tensor, (bytes, bytearray)):
            data = memoryview(tensor)
        else:
            if not all_finite(tensor):
                raise not_numbers(name, str(tensor.dtype))
            data = tensor_bytes(tensor)
        start, stop = self._places[name]
        if len(data) != stop - start:
            raise ValueError(f"{name}: {len(data)} bytes where {stop - start} were announced")
        self.write_part(name, 0, data)

    def write_part(self, name: str, offset: int, data: memoryview) -> None:
        """Put ``data`` at ``offset`` bytes from the tensor's start; every byte exactly once."""
        self._count(name, len(data))
        write_all(self._file.fileno(), data, self._places[name][0] + offset)

    def copy(self, name: str, files: OpenFiles, source: TensorInfo) -> None:
        """The bytes of a tensor of another file, unread."""
        self._count(name, source.nbytes)
        files.copy(source, self._file.fileno(), self._places[name][0])

    def sync(self) -> None:
        """Have what was written so far put on the disk; from another thread, so that the end need not wait for it."""
        os.fdatasync(self._file.fileno())

    def _count(self, name: str, size: int) -> None:
        with self._lock:
            if size > self._left[name]:
                raise ValueError(f"{name}: more bytes than were announced")
            self._left[name] -= size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                if missing := sorted(name for name, left in self._left.items() if left):
                    raise ValueError(f"tensors not written: {missing[:3]}")
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def not_numbers(name: str, dtype: str, blame: str = "an input holds one", hint: str = "") -> CompatibilityError:
    """What is said in the place of writing a tensor that holds NaN or infinity.

    :param blame: where that comes from, as far as it is known.
    """
    return CompatibilityError(
        f"{name} would hold NaN or infinity: {blame}, or beyond what {dtype.removeprefix('torch.')} can hold",
        hint=hint or "is lora_alpha, a scale or a weight far too large, or an input damaged? a wider dtype holds more",
    )


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the space; where the file system or the system can't, only set the size."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        os.ftruncate(descriptor, size)


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors that are in memory already."""
    shapes = {name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in tensors.items()}
    with SafetensorsWriter(path, shapes, metadata) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)
