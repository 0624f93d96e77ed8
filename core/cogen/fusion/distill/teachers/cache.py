"""A teacher's statistics of a corpus on disk: it runs once, and many runs learn from it.

A folder of shards, each with the digest of its bytes beside it. A shard appears whole or not at all, so a run that was
killed goes on behind the last one; and what lies on disk is checked when it is opened, so a byte that flipped is found
before anything learns from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cogen.cache import cached, temporary, writable
from cogen.devices import mark
from cogen.files import locked
from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.shard import Shard, recorded_digest, write_shard
from cogen.fusion.distill.teachers.teacher import Teacher
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest

#: Raised when the same inputs would give other bytes.
_VERSION, _SPARSE_VERSION = 1, 2
#: Texts of a shard.
SHARD = 256


class TeacherCache(Sequence[dict[str, np.ndarray]]):
    """Statistics by text, as :meth:`Teacher.score` gave them; log-probabilities as float32.

    A shard is checked when it is first opened, and stays on disk: a text is unpacked when it is asked for.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self._count = folder, count
        self._open: dict[int, Shard] = {}

    def __len__(self) -> int:
        return self._count

    def __reduce__(self) -> Any:
        """For another process: it opens and checks shards itself."""
        return TeacherCache, (self.folder, self._count)

    def __getitem__(self, index: Any) -> Any:
        """
        :raises DigestError: the shard is not what was written.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        number, inside = divmod(index, SHARD)
        if number not in self._open:
            self._open[number] = Shard(_file(self.folder, number))
        return self._open[number][inside]


def build(
    teacher: Teacher,
    encoded: Sequence[Encoded],
    needs: TeacherStatistics,
    *,
    texts_digest: str,
    max_length: int,
    reporter: Reporter = SILENT,
) -> TeacherCache:
    """The teacher's statistics of these texts: read where they are, else made. The teacher is released at the end.

    :param encoded: the texts as the teacher reads them; ``texts_digest`` is of the texts themselves.
    :param reporter: advanced by the tokens that went through the teacher.
    """
    version = _SPARSE_VERSION if needs.sparse else _VERSION
    key = canonical_digest(
        [
            version,
            teacher.digest,
            teacher.tokenizer_digest,
            texts_digest,
            max_length,
            vars(needs),
            len(encoded),
            *mark(),
        ]
    )
    folder = cached("teachers", key[7:39])
    count = -(-len(encoded) // SHARD)
    if not writable(folder) and not all(recorded_digest(_file(folder, number)) for number in range(count)):
        folder = _copied(folder, temporary("teachers", key[7:39]))
    with locked(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for number in range(count):
                part = encoded[number * SHARD : (number + 1) * SHARD]
                file = _file(folder, number)
                if recorded_digest(file) is None:
                    write_shard(file, list(teacher.score(part, needs)))
                reporter.advance(sum(len(text.ids) for text in part))
        finally:
            teacher.release()  # also where it failed: whoever catches the error may want the memory
    return TeacherCache(folder, len(encoded))


def _copied(folder: Path, target: Path) -> Path:
    """The shards that a cache has which can only be read, where the missing ones can be written beside them."""
    target.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir() if folder.is_dir() else ():
        if not (target / file.name).exists():
            (target / file.name).symlink_to(file)
    return target


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.safetensors"
