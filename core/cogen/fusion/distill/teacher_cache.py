"""What a teacher says of a corpus, kept: it runs once, and many runs learn from it.

A folder of shards, each with the digest of its bytes beside it. A shard appears whole or not at all, so a run that was
killed goes on behind the last one; and what lies on disk is checked when it is opened, so a byte that flipped is found
before anything learns from it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cogen.checkpoints.cache import atomic_write, cache_dir, locked
from cogen.checkpoints.digests import file_digest
from cogen.errors import DigestError
from cogen.fusion.distill.encode import Encoded
from cogen.fusion.distill.sparse import pack, unpack
from cogen.fusion.distill.teacher import Teacher
from cogen.fusion.distill.wanted import Wanted
from cogen.spec.expert import canonical_digest

#: Raised when the same inputs would give other bytes.
_VERSION = 1
#: Texts of a shard, and shards that stay unpacked in memory.
SHARD, OPEN = 256, 64


class TeacherCache(Sequence[dict[str, np.ndarray]]):
    """Statistics by text, as :meth:`Teacher.score` gave them; log-probabilities as float32."""

    def __init__(self, folder: Path, count: int, wanted: Wanted) -> None:
        self.folder, self._count, self._wanted = folder, count, wanted
        self._open: OrderedDict[int, list[dict[str, np.ndarray]]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        """
        :raises DigestError: the shard is not what was written.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        number, inside = divmod(index, SHARD)
        if number not in self._open:
            self._open[number] = _read(_file(self.folder, number), self._wanted)
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number][inside]

    @property
    def nbytes(self) -> int:
        """On disk."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


def build(
    teacher: Teacher, encoded: Sequence[Encoded], wanted: Wanted, *, texts_digest: str, max_length: int,
    progress: Any = None,
) -> TeacherCache:  # fmt: skip
    """The teacher's statistics of these texts: read where they are, else made. The teacher is released at the end.

    :param encoded: the texts as the teacher reads them; ``texts_digest`` is of the texts themselves.
    :param progress: told of every token that went through the teacher.
    """
    key = canonical_digest(
        [_VERSION, teacher.digest, teacher.tokenizer_digest, texts_digest, max_length, vars(wanted), len(encoded)]
    )
    folder = cache_dir() / "teachers" / key[7:39]
    with locked(folder):
        folder.mkdir(parents=True, exist_ok=True)
        used = False
        for number in range(-(-len(encoded) // SHARD)):
            part = encoded[number * SHARD : (number + 1) * SHARD]
            file = _file(folder, number)
            if not _note(file).is_file():
                used = True
                _write(file, list(teacher.score(part, wanted)), wanted)
            if progress:
                progress.advance(sum(len(text.ids) for text in part))
        if used:
            teacher.release()
    return TeacherCache(folder, len(encoded), wanted)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.safetensors"


def _note(file: Path) -> Path:
    return file.with_suffix(".json")


def _write(file: Path, said: Sequence[dict[str, np.ndarray]], wanted: Wanted) -> None:
    """The shard, then its digest: a shard without one is made again."""
    from safetensors.numpy import save

    names = [name for name in ("logprob", "boundary", "top") if any(name in one for one in said)]
    arrays = {name: np.concatenate([one[name] for one in said if name in one]) for name in names}
    rows = [len(next((one[n] for n in ("boundary", "top", "sparse_ids") if n in one), ())) for one in said]
    arrays["rows"] = np.array(rows, dtype=np.int64)
    arrays["tokens"] = np.array([len(one.get("logprob", ())) for one in said], dtype=np.int64)
    if wanted.sparse and any("sparse_ids" in one for one in said):
        ids = np.concatenate([one["sparse_ids"] for one in said if "sparse_ids" in one])
        values = np.concatenate([one["sparse_logprobs"] for one in said if "sparse_logprobs" in one])
        arrays["k"] = np.array([ids.shape[1]], dtype=np.int64)
        arrays |= {f"sparse_{name}": plane for name, plane in pack(ids, values).items()}
    atomic_write(file, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    atomic_write(_note(file), json.dumps({"digest": file_digest(file), "texts": len(said)}).encode())


def _read(file: Path, wanted: Wanted) -> list[dict[str, np.ndarray]]:
    from safetensors.numpy import load

    promised = json.loads(_note(file).read_text(encoding="utf-8"))["digest"]
    if not file.is_file() or file_digest(file) != promised:
        raise DigestError(
            f"{file.name} of the teacher cache {file.parent.name} is damaged: its digest is not the one it was "
            "written with",
            hint=f"delete {file.parent} and run again: the teacher then reads the texts anew",
        )
    arrays = load(file.read_bytes())
    rows, tokens = np.cumsum(arrays.pop("rows")), np.cumsum(arrays.pop("tokens"))
    if "k" in arrays:
        packed = {name.removeprefix("sparse_"): arrays.pop(name) for name in list(arrays) if name.startswith("sparse_")}
        arrays["sparse_ids"], arrays["sparse_logprobs"] = unpack(packed, int(arrays.pop("k")[0]))
    found: list[dict[str, np.ndarray]] = [{} for _ in rows]
    for name, array in arrays.items():
        wide = array if array.dtype == np.int32 else array.astype(np.float32)
        ends = tokens if name == "logprob" else rows
        for one, part in zip(found, np.split(wide, ends[:-1]), strict=True):
            one[name] = part
    return found
