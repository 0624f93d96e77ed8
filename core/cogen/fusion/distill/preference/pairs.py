"""Prompts with a better and a worse answer, and what every model says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.errors import SpecError
from cogen.fusion.distill.batches import plan_batches
from cogen.fusion.distill.encode import Encoded
from cogen.fusion.distill.pairs import batch
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.texts import Item, Message

if TYPE_CHECKING:
    import torch

_HINT = 'a line is {"prompt": "…", "chosen": "…", "rejected": "…"}, or "messages" in the place of the prompt'


def read_preferences(path: Path) -> tuple[list[Item], list[Item]]:
    """The better and the worse answers of a JSON Lines file, in its order.

    :raises SpecError: unreadable, or a line that is no pair, named with its number.
    """
    better, worse = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", hint=_HINT) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if "messages" in entry:
                messages = tuple(Message(role=str(m["role"]), content=str(m["content"])) for m in entry["messages"])
            else:
                messages = (Message(role="user", content=_text(entry["prompt"])),)
            answers = _text(entry["chosen"]), _text(entry["rejected"])
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{path.name}, line {number}: no pair of answers", hint=_HINT) from error
        better.append(Item(answer=answers[0], messages=messages))
        worse.append(Item(answer=answers[1], messages=messages))
    if not better:
        raise SpecError(f"{path.name} holds no pair of answers", hint=_HINT)
    return better, worse


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def mean_logprob(statistics: Mapping[str, np.ndarray]) -> float:
    """Nats a token of an answer, in the model's own tokens; 0 where it read none of it."""
    found = statistics.get("logprob", np.zeros(0))
    return float(np.sum(found, dtype=np.float64) / max(1, len(found)))


class PreferenceBatches:
    """A dataset whose items are whole batches: B better answers, then the B worse ones in the same order.

    :param better, worse: as the student reads them.
    :param said: what each model said of all answers, (better, worse) → shape (n, S); the last column is the pivot's.
    """

    def __init__(
        self, better: Sequence[Encoded], worse: Sequence[Encoded], said: tuple[np.ndarray, np.ndarray], padding: int,
        wish: Distillation,
    ) -> None:  # fmt: skip
        self.better, self.worse, self.said, self.padding = better, worse, said, padding
        both = [(len(a.ids), len(b.ids)) for a, b in zip(better, worse, strict=True)]
        read = [a.stop > a.start and b.stop > b.start for a, b in zip(better, worse, strict=True)]
        learned = [
            (a.stop - a.start + b.stop - b.start) * there for a, b, there in zip(better, worse, read, strict=True)
        ]
        size = max(16, wish.tokens_a_step // wish.accumulation)
        # A pair is two rows of the batch, both as wide as the longest answer.
        order = plan_batches([2 * max(pair) for pair in both], learned, wish.tokens, size, wish.seed)
        self.order = order[: len(order) - len(order) % wish.accumulation] or order
        self.learned = sum(learned[index] for part in self.order for index in part)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        import torch

        chosen = self.order[at]
        # What closes an answer is left out: teachers say nothing of it.
        texts = [self.better[i] for i in chosen] + [self.worse[i] for i in chosen]
        made = batch(texts, self.padding, closing=False)
        for name, said in zip(("said_better", "said_worse"), self.said, strict=True):
            made[name] = torch.from_numpy(said[chosen]).float()
        return made
