"""The input files of one run: opened once, read by position from any thread, and watched for change."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cogen.checkpoints.finite import check_numbers
from cogen.checkpoints.safetensors_file import WIDTHS, TensorInfo
from cogen.errors import SourceError

if TYPE_CHECKING:
    import torch

#: Errors of ``copy_file_range`` that only mean: not between these two files.
_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
_CHUNK = 1 << 24


class OpenFiles:
    """Positioned reads that share one descriptor a file. Memory maps are avoided: their pages count as ours,
    and a file that is cut short underneath would end the process instead of raising an error.

    :param check: look at what is read for NaN and infinity; needless where all of it was looked at before.
    """

    def __init__(self, *, check: bool = False) -> None:
        self._check = check
        self._open: dict[Path, tuple[int, tuple[int, ...]]] = {}
        self._lock = threading.Lock()

    def read(self, info: TensorInfo, start: int, stop: int, into: torch.Tensor | None = None) -> torch.Tensor:
        """The elements [start, stop) of the flattened tensor in its stored dtype; ``into`` memory that is there.

        :raises SourceError: the file ended before them. :raises CompatibilityError: NaN or infinity, where it looks.
        """
        import torch

        found = torch.empty(stop - start, dtype=getattr(torch, info.dtype)) if into is None else into
        if stop > start:
            info.load(self._fill, start, stop, memoryview(found.view(torch.uint8).numpy().data))
            if self._check:
                check_numbers(found, info.name, info.parts[0].file.parent.name)
        return found

    def copy(self, info: TensorInfo, target: int, position: int) -> None:
        """The tensor's bytes to ``position`` of the descriptor ``target``, by the kernel where it can."""
        if info.parts != (info,):
            self._copy_numbers(info, target, position)
            return
        source, left, begin = self._descriptor(info.file), info.stop - info.start, info.start
        while left:
            try:
                done = os.copy_file_range(source, target, left, begin, position)
            except OSError as error:
                if error.errno not in _NO_RANGE:
                    raise
                break
            if not done:
                raise _cut_short(info)
            left, begin, position = left - done, begin + done, position + done
        while left:
            data = memoryview(bytearray(min(left, _CHUNK)))
            self._fill(info, data, begin)
            write_all(target, data, position)
            left, begin, position = left - len(data), begin + len(data), position + len(data)

    def _copy_numbers(self, info: TensorInfo, target: int, position: int) -> None:
        """Of a tensor that is not stored as its numbers."""
        width = WIDTHS[info.dtype]
        step = _CHUNK // width
        data = memoryview(bytearray(min(_CHUNK, info.nbytes)))
        for start in range(0, info.numel, step):
            stop = min(start + step, info.numel)
            view = data[: (stop - start) * width]
            info.load(self._fill, start, stop, view)
            write_all(target, view, position + start * width)

    def check_unchanged(self) -> None:
        """:raises SourceError: a file is not the one that was opened any more."""
        for path, (descriptor, before) in self._open.items():
            try:
                changed = _state(os.fstat(descriptor)) != before or _state(path.stat()) != before
            except OSError:
                changed = True
            if changed:
                raise SourceError(
                    f"{path.name} changed while it was read", hint="something else writes to it: stop that, start over"
                )

    def _fill(self, info: TensorInfo, view: memoryview, position: int) -> None:
        descriptor = self._descriptor(info.file)
        while len(view):
            try:
                count = os.preadv(descriptor, [view], position)
            except OSError as error:
                raise SourceError(
                    f"{info.file} cannot be read: {error.strerror}", hint="check the disk; then start over"
                ) from error
            if not count:
                raise _cut_short(info)
            view, position = view[count:], position + count

    def _descriptor(self, path: Path) -> int:
        with self._lock:
            if path not in self._open:
                try:
                    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                except OSError as error:
                    raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check the file") from error
                self._open[path] = descriptor, _state(os.fstat(descriptor))
            return self._open[path][0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()


def write_all(descriptor: int, data: memoryview, position: int) -> None:
    """All of ``data`` at ``position``."""
    while len(data):
        count = os.pwrite(descriptor, data, position)
        data, position = data[count:], position + count


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _cut_short(info: TensorInfo) -> SourceError:
    return SourceError(f"{info.file.name} ended inside tensor {info.name}", hint="the file changed: start over")
