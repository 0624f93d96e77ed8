"""Arrays that grow, and what of current experts is kept in them for filters and orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class Column:
    """An array that grows at its end. A view that was taken before stays whole while more is added."""

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self._shape = () if width is None else (width,)
        self._array = np.zeros((0, *self._shape), dtype)
        self._length = 0

    @property
    def values(self) -> np.ndarray:
        return self._array[: self._length]

    def extend(self, values: np.ndarray | Sequence[Any]) -> None:
        new = np.asarray(values, self._array.dtype).reshape(-1, *self._shape)
        wanted = self._length + len(new)
        if wanted > len(self._array):
            grown = np.zeros((wanted + wanted // 8, *self._shape), self._array.dtype)
            grown[: self._length] = self.values
            self._array = grown
        self._array[self._length : wanted] = new
        self._length = wanted


class Facet:
    """Which rows have which value; a row has any number of them. Values are compared in lower case."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._rows, self._of = Column(np.int32), Column(np.int32)

    def extend(self, pairs: Iterable[tuple[int, str]]) -> None:
        """(row, value)."""
        rows, codes = [], []
        for row, value in pairs:
            rows.append(row)
            codes.append(self._codes.setdefault(value.lower(), len(self._codes)))
        self._rows.extend(rows)
        self._of.extend(codes)

    def mask(self, value: str, length: int) -> np.ndarray:
        """Shape (length,), bool."""
        found = np.zeros(length, bool)
        code = self._codes.get(value.lower())
        if code is not None:
            codes = self._of.values
            rows = self._rows.values[: len(codes)][codes == code]
            found[rows[rows < length]] = True
        return found

    def counts(self, mask: np.ndarray) -> list[tuple[str, int]]:
        """(value, rows of ``mask`` that have it), the most frequent first."""
        rows, codes = self._rows.values, self._of.values
        rows, codes = rows[: len(codes)], codes[: len(rows)]
        inside = rows < len(mask)
        kept = codes[inside][mask[rows[inside]]]
        number = np.bincount(kept, minlength=len(self._codes))
        found = [(value, int(number[code])) for value, code in list(self._codes.items()) if number[code]]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))
