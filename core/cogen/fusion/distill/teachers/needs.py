"""What a loss needs to know of a teacher, token by token: the cache stores just that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TeacherStatistics:
    """Statistics of a teacher's rows. A row is the prediction of one token of an answer.

    :param logprob: log-probability of the token that stands there (float16, nats).
    :param boundary: log-probability that the token begins a word (float16, nats); see :mod:`.losses.alm`.
    :param top: so many of the largest logits, in descending order (float16).
    :param sparse: so many of the largest log-probabilities with their token ids.
    """

    logprob: bool = False
    boundary: bool = False
    top: int = 0
    sparse: int = 0

    def __or__(self, other: TeacherStatistics) -> TeacherStatistics:
        return TeacherStatistics(
            self.logprob or other.logprob,
            self.boundary or other.boundary,
            max(self.top, other.top),
            max(self.sparse, other.sparse),
        )
