"""Tensors that are stored as codes of eight bits beside scales, read as the numbers that they stand for.

``value = code · scale``, or ``(code - zero) · scale``, computed in float32 and rounded once to the tensor's type: what
transformers' FP8 integration and compressed-tensors compute. Every operation is elementwise and defined by IEEE 754, so
that all machines get the same bits; numpy alone is needed, as a registry has it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.safetensors_file import WIDTHS, Fill, TensorInfo
from cogen.extras import missing_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: Types of codes; each has one byte an element.
CODES = ("float8_e4m3fn", "float8_e5m2", "int8")
#: Elements that are dequantized at once.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ScaledInfo(TensorInfo):
    """A tensor of shape (…, rows, columns) whose every block of ``block`` = (rows, columns) has one scale.

    :param codes: of the tensor's shape. :param scales: of shape (…, rows / block rows, columns / block columns), each
        rounded up; any shape where there is one scale in all.
    :param zeros: as ``scales``; what is subtracted from the codes.
    :param exponents: do the scales' bytes hold powers of two (``2^(byte - 127)``)?

    ``start`` and ``stop`` are both 0: no bytes of a file are these numbers.
    """

    codes: TensorInfo
    scales: TensorInfo
    block: tuple[int, int]
    zeros: TensorInfo | None = None
    exponents: bool = False

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        return (self.codes, self.scales, *((self.zeros,) if self.zeros is not None else ()))

    def load(self, fill: Fill, start: int, stop: int, into: memoryview) -> None:
        """See :meth:`cogen.checkpoints.safetensors_file.TensorInfo.load`."""
        try:
            import numpy as np
        except ModuleNotFoundError as error:
            raise missing_extra(error, "reading FP8 weights") or error from error
        width, columns = WIDTHS[self.dtype], self.shape[-1]
        step = max(1, _CHUNK // columns)
        first, last = start // columns, -(-stop // columns)
        for row in range(first, last, step):
            end = min(row + step, last)
            begin, until = max(start, row * columns), min(stop, end * columns)
            found = self._rows(fill, row, end).reshape(-1)[begin - row * columns : until - row * columns]
            view = into[(begin - start) * width : (until - start) * width]
            view[:] = _rounded(found, self.dtype).view(np.uint8).data

    def _rows(self, fill: Fill, first: int, last: int) -> Floats:
        """Rows [first, last) of the tensor as (all rows, columns), in float32."""
        import numpy as np

        columns = self.shape[-1]
        numbers = np.arange(first, last)
        scales = self._scale_rows(fill, self.scales, numbers, exponents=self.exponents)
        codes = np.empty((last - first, columns), dtype=np.uint8)
        fill(self.codes, codes.reshape(-1).data, self.codes.start + first * columns)
        values = _float32(codes, self.codes.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.zeros is not None:
                values -= self._scale_rows(fill, self.zeros, numbers)
            values *= scales
        return values

    def _scale_rows(self, fill: Fill, info: TensorInfo, rows: NDArray[Any], *, exponents: bool = False) -> Floats:
        """The scale of every element of these rows: shape (rows, columns), or what is broadcast to it."""
        import numpy as np

        columns, height = self.shape[-1], self.shape[-2] if len(self.shape) > 1 else 1
        block_rows, block_columns = self.block
        across, down = -(-columns // block_columns), -(-height // block_rows)
        if info.numel == 1:
            at = np.zeros(len(rows), dtype=np.int64)
            across = 1
        else:
            at = rows // height * down + rows % height // block_rows
        begin, end = int(at[0]), int(at[-1]) + 1
        raw = np.empty((end - begin) * across * WIDTHS[info.dtype], dtype=np.uint8)
        fill(info, raw.data, info.start + begin * across * WIDTHS[info.dtype])
        found = _powers(raw) if exponents else _float32(raw, info.dtype)
        each: Floats = found.reshape(-1, across)[at - begin]
        return each if across == 1 else np.repeat(each, block_columns, axis=1)[:, :columns]


def _float32(raw: NDArray[Any], dtype: str) -> Floats:
    """Numbers of a stored type, from their little-endian bytes."""
    import numpy as np

    if dtype in ("float8_e4m3fn", "float8_e5m2"):
        found: Floats = _table(dtype)[raw]
        return found
    if dtype == "int8":
        return raw.view(np.int8).astype(np.float32)
    if dtype == "bfloat16":
        return (raw.reshape(-1).view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype == "float16":
        return raw.reshape(-1).view("<f2").astype(np.float32)
    assert dtype == "float32", dtype  # whoever makes a ScaledInfo has made sure of it
    return raw.reshape(-1).view("<f4").astype(np.float32, copy=False)


@functools.cache
def _table(dtype: str) -> Floats:
    """The 256 numbers of a type of eight bits (OCP 8-bit floating point, revision 1.0)."""
    import numpy as np

    codes = np.arange(256, dtype=np.uint16)
    if dtype == "float8_e5m2":  # the upper half of a float16
        return (codes << 8).view(np.float16).astype(np.float32)
    exponent, mantissa = codes >> 3 & 15, (codes & 7).astype(np.float64)
    size = np.where(exponent, (8 + mantissa) * 2.0 ** (exponent.astype(np.float64) - 10), mantissa * 2.0**-9)
    size = np.where(codes & 0x7F == 0x7F, np.nan, size)
    return np.where(codes & 0x80, -size, size).astype(np.float32)


def _powers(raw: NDArray[Any]) -> Floats:
    """``2^(byte - 127)``; 255 stands for NaN (OCP Microscaling, E8M0)."""
    import numpy as np

    found = np.ldexp(np.float32(1), raw.astype(np.int32) - 127)
    return np.where(raw == 255, np.float32(np.nan), found).astype(np.float32)


def _rounded(values: Floats, dtype: str) -> NDArray[Any]:
    """To the nearest number of ``dtype``, ties to even."""
    import numpy as np

    flat = np.ascontiguousarray(values)
    if dtype == "float32":
        return flat
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return flat.astype(np.float16)
    bits = flat.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    nan = flat != flat
    if nan.any():
        rounded[nan] = 0x7FC0
    return rounded
