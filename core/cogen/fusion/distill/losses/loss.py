"""What every distillation loss is: which few numbers it reads of a row of logits, and a sum over them.

A loss never sees whole rows: :mod:`cogen.fusion.distill.losses.rows` goes over the logits once for all losses, gives
each what it reads, and knows by hand how a row of logits moves with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.teachers.needs import TeacherStatistics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DistillBatch:
    """The student's rows of one batch beside one teacher's, cut into chunks of the same bytes.

    N rows of the student's logits: row ``i`` is the prediction of ``targets[i]``. C chunks: a chunk is the shortest
    run of whole tokens that ends on the same byte on both sides. At a chunk's start both models have read the same
    bytes, so their predictions can be compared there; inside of a chunk of several tokens they can not.

    :param targets: student's tokens, shape (N,), int64; -100 where nothing is learned.
    :param start: row of each chunk's first token, ascending, shape (C,), int64.
    :param chunk: chunk of each row's token, shape (N,), int64; -1: none.
    :param after: row that follows each chunk's last token, shape (C,), int64: the last token's own.
    :param text: text of the batch that each chunk belongs to, shape (C,), int64.
    :param single: is the chunk one token on both sides? Shape (C,), bool.
    :param teacher_target: the teacher's token at each chunk's start, shape (C,), int64.
    :param logprob: the teacher's log-probability of each whole chunk, shape (C,), float32.
    :param boundary: the teacher's log-probability that a word begins behind each chunk, shape (C,), float32.
    :param top: the teacher's largest logits at each chunk's start, descending, shape (C, K), float32.
    :param ids, logprobs: the teacher's likeliest tokens at each chunk's start, and their log-probabilities, descending,
        shape (C, k), int64 and float32.

    A teacher's statistics are ``None`` where no loss needs them, and where there is no chunk.
    """

    targets: torch.Tensor
    start: torch.Tensor
    chunk: torch.Tensor
    after: torch.Tensor
    text: torch.Tensor
    single: torch.Tensor
    teacher_target: torch.Tensor
    logprob: torch.Tensor | None = None
    boundary: torch.Tensor | None = None
    top: torch.Tensor | None = None
    ids: torch.Tensor | None = None
    logprobs: torch.Tensor | None = None

    @property
    def chunks(self) -> int:
        return self.start.shape[0]

    @classmethod
    def alone(cls, targets: torch.Tensor) -> DistillBatch:
        """Rows beside no teacher: what the language-model loss needs."""
        none = targets.new_zeros(0)
        return cls(targets, none, targets.new_full(targets.shape, -1), none, none, none.bool(), none)


class Loss(Protocol):
    """One loss. It is a value: the same batch and logits give the same number, and nothing is changed in place."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> TeacherStatistics:
        """What it takes of the teacher."""

    def rows(self, batch: DistillBatch) -> torch.Tensor:
        """The rows of logits that it reads, each once, ascending, shape (n,), int64."""

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        """What it reads of them; not asked where there are none.

        :param width: columns of the logits, without padding: V.
        """

    def total(self, seen: SeenTokens, batch: DistillBatch) -> tuple[torch.Tensor, int]:
        """The sum of the loss and how many it is a sum of; without rows, a zero that is a function of ``seen``."""
