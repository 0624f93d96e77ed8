"""Everything that one run learns from: texts as the student reads them, and what each teacher said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.batches import needed, planned
from cogen.fusion.distill.student.collate import AlignedText, batch, collate

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TeacherView:
    """One teacher's side of the corpus.

    :param encoded: every text as the teacher reads it.
    :param statistics: of the texts that it has read, by their places, as :class:`TeacherCache` gives them.
    :param teaches: does it teach this text? One flag a text.
    """

    name: str
    encoded: Sequence[Encoded]
    statistics: Mapping[int, Mapping[str, np.ndarray]]
    teaches: Sequence[bool]


@dataclass(frozen=True)
class CachedStatistics(Mapping[int, Mapping[str, np.ndarray]]):
    """Statistics of some texts, by their places among all: ``said[i]`` is of text ``places[i]``."""

    places: Mapping[int, int]
    said: Sequence[Mapping[str, np.ndarray]]

    @classmethod
    def of(cls, read: Sequence[int], said: Sequence[Mapping[str, np.ndarray]]) -> CachedStatistics:
        return cls({place: number for number, place in enumerate(read)}, said)

    def __getitem__(self, place: int) -> Mapping[str, np.ndarray]:
        return self.said[self.places[place]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Batches:
    """A dataset whose items are whole batches, in the order in which they are read.

    Item: ``input_ids``, ``attention_mask``, ``targets`` of shape (B, T), and ``pairs``: one a teacher.
    """

    def __init__(self, texts: Sequence[Encoded], teachings: Sequence[TeacherView], padding: int, wish: Distillation):
        self.texts, self.teachings, self.padding = texts, teachings, padding
        learned = _learned(texts)
        self.order = planned([len(text.ids) for text in texts], learned, wish)
        self.learned = sum(learned[index] for part in self.order for index in part)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, Any]:
        chosen = self.order[at]
        made: dict[str, Any] = batch([self.texts[index] for index in chosen], self.padding)
        made["pairs"] = [self._pair(number, chosen, made["targets"]) for number in range(len(self.teachings))]
        return made

    def _pair(self, number: int, chosen: Sequence[int], targets: torch.Tensor) -> dict[str, torch.Tensor]:
        teaching = self.teachings[number]
        told = [self._told(number, index) if teaching.teaches[index] else None for index in chosen]
        found = collate([self.texts[index] for index in chosen], told, targets)
        # A plain dictionary: the Trainer moves tensors in it to the device.
        return {name: value for name, value in vars(found).items() if value is not None and name != "targets"}

    def _told(self, number: int, index: int) -> AlignedText:
        teaching = self.teachings[number]
        return AlignedText.of(self.texts[index], teaching.encoded[index], teaching.statistics[index])


def to_read(texts: Sequence[Encoded], wish: Distillation) -> list[int]:
    """Texts that every teacher has to read; see :func:`~cogen.fusion.distill.student.batches.needed`."""
    return needed([len(text.ids) for text in texts], _learned(texts), wish)


def _learned(texts: Sequence[Encoded]) -> list[int]:
    """Tokens of each text that are learned."""
    return [len(text.ids) - text.start if text.stop > text.start else 0 for text in texts]


def bits_per_byte(encoded: Encoded, statistics: Mapping[str, np.ndarray]) -> float:
    """How well a teacher predicts a text; infinite where it read nothing of it."""
    size = int(encoded.ends[-1]) if len(encoded.ends) else 0
    if not size:
        return float("inf")
    return float(-np.sum(statistics["logprob"], dtype=np.float64) / size / np.log(2))
