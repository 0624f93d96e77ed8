"""A shard of a teacher cache: the statistics of some texts in one file, and its digest in another beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.safetensors_file import read_header
from cogen.errors import DigestError
from cogen.files import atomic_write
from cogen.fusion.distill.teachers.sparse import pack, unpack

_PLAIN = ("logprob", "boundary", "top")
_PLANES = ("gaps0", "gaps1", "gaps2", "codes", "bounds")


def recorded_digest(file: Path) -> str | None:
    """The digest that a shard was written with; None: it was not written to its end, and is made again."""
    try:
        return str(json.loads(_note(file).read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_shard(file: Path, statistics: Sequence[Mapping[str, np.ndarray]]) -> None:
    """The shard, then its digest."""
    from safetensors.numpy import save

    arrays = {
        name: np.concatenate([one[name] for one in statistics if name in one])
        for name in _PLAIN
        if any(name in one for one in statistics)
    }
    rows = [len(next((one[n] for n in ("boundary", "top", "sparse_ids") if n in one), ())) for one in statistics]
    arrays["rows"] = np.array(rows, dtype=np.int64)
    arrays["tokens"] = np.array([len(one.get("logprob", ())) for one in statistics], dtype=np.int64)
    if any("sparse_ids" in one for one in statistics):
        packed = [pack(one["sparse_ids"], one["sparse_logprobs"]) if "sparse_ids" in one else {} for one in statistics]
        empty = np.zeros(0, dtype=np.uint8)
        planes = [[one.get(name, empty) for name in _PLANES] for one in packed]
        arrays["sparse"] = np.concatenate([plane for one in planes for plane in one])
        arrays["sparse_sizes"] = np.array([[len(plane) for plane in one] for one in planes], dtype=np.int64)
        arrays["k"] = np.array([next(one["sparse_ids"].shape[1] for one in statistics if "sparse_ids" in one)])
    atomic_write(file, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    atomic_write(_note(file), json.dumps({"digest": file_digest(file), "texts": len(statistics)}).encode())


class Shard:
    """A shard that was written before, mapped and not read: only what is asked for comes into memory.

    :raises DigestError: it is not what was written.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file() or file_digest(file) != recorded_digest(file):
            raise DigestError(
                f"{file.name} of the teacher cache {file.parent.name} is damaged: its digest is not the one it was "
                "written with",
                hint=f"delete {file.parent} and run again: the teacher then scores the texts again",
            )
        whole = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        self._arrays = {
            name: whole[info.start : info.stop].view(info.dtype).reshape(info.shape)
            for name, info in read_header(file).items()
        }
        self._rows, self._tokens = (_starts(self._arrays.pop(name)) for name in ("rows", "tokens"))
        sizes = self._arrays.get("sparse_sizes", np.zeros((0, len(_PLANES)), dtype=np.int64))
        self._bytes = _starts(sizes.reshape(-1))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """One text's statistics; of a shard that holds any, a text of which nothing was read has empty ones."""
        found = {}
        for name in _PLAIN:
            if name in self._arrays:
                starts = self._tokens if name == "logprob" else self._rows
                found[name] = self._arrays[name][starts[index] : starts[index + 1]].astype(np.float32)
        if "sparse" in self._arrays:
            found["sparse_ids"], found["sparse_logprobs"] = self._sparse(index)
        return found

    def _sparse(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        k = int(self._arrays["k"][0])
        if self._rows[index] == self._rows[index + 1]:
            return np.zeros((0, k), dtype=np.int32), np.zeros((0, k), dtype=np.float32)
        cuts = self._bytes[index * len(_PLANES) : (index + 1) * len(_PLANES) + 1]
        data = self._arrays["sparse"]
        return unpack({name: data[a:b] for name, (a, b) in zip(_PLANES, pairwise(cuts), strict=True)}, k)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])


def _note(file: Path) -> Path:
    return file.with_suffix(".json")
