"""Prompts with a better and a worse answer, and every model's scores of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.batches import plan_run
from cogen.fusion.distill.student.collate import student_batch
from cogen.fusion.distill.texts import Item, Message, read_lines, text_of, turns_of

if TYPE_CHECKING:
    import torch

_HINT = 'a line is {"prompt": "…", "chosen": "…", "rejected": "…"}, or "messages" in the place of the prompt'


def read_preferences(path: Path) -> tuple[list[Item], list[Item]]:
    """The better and the worse answers of a JSON Lines file, in its order.

    :raises SpecError: unreadable, or a line that is not a pair, named with its number.
    """

    def pair_of(entry: dict[str, Any]) -> tuple[Item, Item]:
        if "messages" in entry:
            prompt = turns_of(entry["messages"])
        else:
            prompt = [Message("user", text_of(entry["prompt"], "prompt"))]
        better, worse = (Item(text_of(entry[side], side), tuple(prompt)) for side in ("chosen", "rejected"))
        return better, worse

    pairs = read_lines(path, pair_of, _HINT)
    return [better for better, _ in pairs], [worse for _, worse in pairs]


def mean_logprob(statistics: Mapping[str, np.ndarray]) -> float:
    """Nats a token of an answer, in the model's own tokens; 0 where it read none of it."""
    found = statistics.get("logprob", np.zeros(0))
    return float(np.sum(found, dtype=np.float64) / max(1, len(found)))


class PreferenceBatches:
    """A dataset whose items are whole batches: B better answers, then the B worse ones in the same order.

    :param better, worse: as the student reads them.
    :param scores: each model's mean log-probability of every answer, (better, worse) → shape (n, S); the last column is
        the student's.
    """

    def __init__(
        self,
        better: Sequence[Encoded],
        worse: Sequence[Encoded],
        scores: tuple[np.ndarray, np.ndarray],
        padding: int,
        settings: Distillation,
    ) -> None:
        self.better, self.worse, self.scores, self.padding = better, worse, scores, padding
        both = [(len(a.ids), len(b.ids)) for a, b in zip(better, worse, strict=True)]
        read = [a.stop > a.start and b.stop > b.start for a, b in zip(better, worse, strict=True)]
        learned = [
            (a.stop - a.start + b.stop - b.start) * there for a, b, there in zip(better, worse, read, strict=True)
        ]
        # A pair is two rows of the batch, both as wide as the longest answer.
        self.order = plan_run([2 * max(pair) for pair in both], learned, settings)
        self.learned = sum(learned[index] for part in self.order for index in part)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        import torch

        chosen = self.order[at]
        # What closes an answer is left out: teachers have no score for it.
        texts = [self.better[i] for i in chosen] + [self.worse[i] for i in chosen]
        made = student_batch(texts, self.padding, closing=False)
        for name, scores in zip(("scores_better", "scores_worse"), self.scores, strict=True):
            made[name] = torch.from_numpy(scores[chosen]).float()
        return made
