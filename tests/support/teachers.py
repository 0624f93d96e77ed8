"""A teacher of a few thousand random weights that counts what it is asked for, and texts for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cogen.fusion.distill.alignment.encode import Encoded, Encoder
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.teacher import LocalTeacher
from cogen.fusion.distill.texts import Item
from support.tiny import WORDS, llama, tokenizer

ALL = TeacherStatistics(logprob=True, boundary=True, top=5, sparse=12)
LINES = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(3 + 5 * i % 17)) for i in range(9)]


class Counting(LocalTeacher):
    """Counts what it is asked for, and dies where it is told to."""

    def __init__(self, digest: str = "one", dies_at: int = -1) -> None:
        self.loaded = self.scored = 0
        self.dies_at = dies_at

        def load() -> Any:
            self.loaded += 1
            return llama()

        super().__init__(load, tokenizer(), digest)

    def score(self, texts: Sequence[Encoded], needs: TeacherStatistics) -> Iterator[dict[str, np.ndarray]]:
        if self.scored == self.dies_at:
            raise RuntimeError("killed")
        self.scored += 1
        return super().score(texts, needs)


def encoded(lines: Sequence[str] = LINES) -> list[Encoded]:
    return Encoder(tokenizer()).encode([Item(line) for line in lines], 40)


def empty(text: Encoded) -> Encoded:
    """A text of which nothing of the answer was read."""
    return Encoded(text.ids[:1], 1, 1, text.ends[:0])
