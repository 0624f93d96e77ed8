"""Arrays that grow, and what of current experts is kept in them for filters and orders."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
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
        array, length = self._array, self._length
        return array[:length]

    def extend(self, values: np.ndarray | Sequence[Any]) -> None:
        new = np.asarray(values, self._array.dtype).reshape(-1, *self._shape)
        wanted = self._length + len(new)
        if wanted > len(self._array):
            self.reserve(wanted + wanted // 8)
        self._array[self._length : wanted] = new
        self._length = wanted

    def reserve(self, length: int) -> None:
        """Room for so many. The system gives memory only to what is written, so it costs nothing until then."""
        if length > len(self._array):
            grown = np.zeros((length, *self._shape), self._array.dtype)
            grown[: self._length] = self.values
            self._array = grown

    def replace(self, values: np.ndarray) -> None:
        """All of them at once: who looks sees the old ones or the new ones."""
        self._array, self._length = values, len(values)


class Facet:
    """Which rows have which value; a row has any number of them. Values are compared in lower case.

    :param widen: what a value is found by beside itself, such as "en" for "en-GB".
    """

    def __init__(self, widen: Callable[[Any], Iterable[str]] = lambda value: (value,)) -> None:
        self._widen = widen
        #: Values as they come → codes; what each code is found by; by what → codes.
        self._codes: dict[Any, int] = {}
        self._names: list[frozenset[str]] = []
        self._found_by: dict[str, list[int]] = {}
        self._rows, self._of = Column(np.int32), Column(np.int32)
        self._counts: dict[str, int] | None = None
        self._ranked: list[tuple[int, str]] = []
        self._shown: list[tuple[str, int]] | None = None

    def extend(self, rows: np.ndarray | Sequence[int], values: Sequence[Any]) -> None:
        """Row and value of each pair."""
        known = self._codes
        codes = [known[value] if value in known else self._code(value) for value in values]
        self._rows.extend(rows)
        self._of.extend(codes)  # last: it says how many pairs there are

    def _code(self, value: Any) -> int:
        code = self._codes[value] = len(self._names)
        names = frozenset(name.lower() for name in self._widen(value))
        self._names.append(names)
        for name in names:
            self._found_by.setdefault(name, []).append(code)
        return code

    def mask(self, value: str, length: int) -> np.ndarray:
        """Shape (length,), bool."""
        found = np.zeros(length, bool)
        wanted = np.zeros(len(self._names), bool)
        wanted[self._found_by.get(value.lower(), [])] = True
        rows, codes = self._pairs(length)
        found[rows[wanted[codes]]] = True
        return found

    def count(self, mask: np.ndarray) -> None:
        """Count all rows of ``mask`` anew. From then on :meth:`recount` follows what changes."""
        found = self.counts(mask)
        self._ranked = [(-count, name) for name, count in found]
        self._shown = None
        self._counts = dict(found)

    def counts(self, mask: np.ndarray) -> list[tuple[str, int]]:
        """(value, rows of ``mask`` that have it), the most frequent first."""
        rows, codes = self._pairs(len(mask))
        kept = mask[rows]
        rows, codes = rows[kept], codes[kept]
        names = list(self._found_by)
        place = {name: number for number, name in enumerate(names)}
        lists = [np.array(sorted(place[name] for name in found), np.int64) for found in self._names]
        lengths = np.array([len(one) for one in lists], np.int64)
        begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        flat = np.concatenate(lists) if lists else np.zeros(0, np.int64)
        repeated = lengths[codes]
        inside = np.arange(int(repeated.sum())) - np.repeat(np.cumsum(repeated) - repeated, repeated)
        values = flat[np.repeat(begins[codes], repeated) + inside]
        # A row that has "en" and "en-GB" is one row of "en".
        pairs = np.unique(np.repeat(rows, repeated).astype(np.int64) * max(1, len(names)) + values)
        number = np.bincount(pairs % max(1, len(names)), minlength=len(names))
        found = [(name, int(number[place[name]])) for name in names if number[place[name]]]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def recount(self, gone: Iterable[int], come: Iterable[int]) -> None:
        """Some rows count no longer, some count from now on; costs what these rows have, not what all have."""
        if self._counts is None:
            return
        for rows, step in ((gone, -1), (come, 1)):
            for row in rows:
                for name in self.names(row):
                    self._step(name, step)
        self._shown = None

    def _step(self, name: str, step: int) -> None:
        assert self._counts is not None
        count = self._counts.get(name, 0)
        if count:
            del self._ranked[bisect.bisect_left(self._ranked, (-count, name))]
        if count + step:
            self._counts[name] = count + step
            bisect.insort(self._ranked, (-count - step, name))
        else:
            del self._counts[name]

    def ranking(self) -> list[tuple[str, int]] | None:
        """(value, rows that have it), the most frequent first; ``None`` before :meth:`count`."""
        if self._counts is None:
            return None
        if (shown := self._shown) is None:
            shown = self._shown = [(name, -count) for count, name in self._ranked]
        return shown

    def names(self, row: int) -> set[str]:
        """What one row is found by."""
        codes = self._of.values
        found = codes[np.flatnonzero(self._rows.values[: len(codes)] == row)].tolist()
        return set().union(*(self._names[code] for code in found))

    def _pairs(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows below ``length`` and their codes."""
        codes = self._of.values
        rows = self._rows.values[: len(codes)]
        inside = rows < length
        return (rows, codes) if inside.all() else (rows[inside], codes[inside])
