"""The training data of one run: texts as the student reads them, and each teacher's statistics of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.batches import plan_run, select_read
from cogen.fusion.distill.student.collate import AlignedText, collate, student_batch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TeacherView:
    """One teacher's side of the corpus.

    :param encoded: every text as the teacher reads it.
    :param statistics: of the texts that it has read, by their places, as ``TeacherCache`` gives them.
    :param teaches: does it teach this text? One flag a text.
    """

    name: str
    encoded: Sequence[Encoded]
    statistics: Mapping[int, Mapping[str, np.ndarray]]
    teaches: Sequence[bool]


@dataclass(frozen=True)
class CachedStatistics(Mapping[int, Mapping[str, np.ndarray]]):
    """Statistics of some texts, by their places among all: ``statistics[i]`` is of text ``places[i]``."""

    places: Mapping[int, int]
    statistics: Sequence[Mapping[str, np.ndarray]]

    @classmethod
    def of(cls, read: Sequence[int], statistics: Sequence[Mapping[str, np.ndarray]]) -> CachedStatistics:
        return cls({place: number for number, place in enumerate(read)}, statistics)

    def __getitem__(self, place: int) -> Mapping[str, np.ndarray]:
        return self.statistics[self.places[place]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Batches:
    """A dataset whose items are whole batches, in the order in which they are read.

    Item: ``input_ids``, ``attention_mask``, ``targets`` of shape (B, T), and ``pairs``: one a teacher.
    """

    def __init__(self, texts: Sequence[Encoded], views: Sequence[TeacherView], padding: int, settings: Distillation):
        self.texts, self.views, self.padding = texts, views, padding
        learned = _learned(texts)
        self.order = plan_run([len(text.ids) for text in texts], learned, settings)
        self.learned = sum(learned[index] for part in self.order for index in part)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, Any]:
        chosen = self.order[at]
        made: dict[str, Any] = student_batch([self.texts[index] for index in chosen], self.padding)
        made["pairs"] = [self._distill_batch(number, chosen, made["targets"]) for number in range(len(self.views))]
        return made

    def _distill_batch(self, number: int, chosen: Sequence[int], targets: torch.Tensor) -> dict[str, torch.Tensor]:
        view = self.views[number]
        aligned = [self._align(number, index) if view.teaches[index] else None for index in chosen]
        found = collate([self.texts[index] for index in chosen], aligned, targets)
        # A plain dictionary: the Trainer moves tensors in it to the device.
        return {name: value for name, value in vars(found).items() if value is not None and name != "targets"}

    def _align(self, number: int, index: int) -> AlignedText:
        view = self.views[number]
        return AlignedText.of(self.texts[index], view.encoded[index], view.statistics[index])


def select_texts(texts: Sequence[Encoded], settings: Distillation) -> list[int]:
    """Texts that every teacher has to read; see :func:`~cogen.fusion.distill.student.batches.select_read`."""
    return select_read([len(text.ids) for text in texts], _learned(texts), settings)


def _learned(texts: Sequence[Encoded]) -> list[int]:
    """Tokens of each text that are learned."""
    return [len(text.ids) - text.start if text.stop > text.start else 0 for text in texts]


def bits_per_byte(encoded: Encoded, statistics: Mapping[str, np.ndarray]) -> float:
    """How well a teacher predicts a text; infinite where it read nothing of it."""
    size = int(encoded.ends[-1]) if len(encoded.ends) else 0
    if not size:
        return float("inf")
    return float(-np.sum(statistics["logprob"], dtype=np.float64) / size / np.log(2))
