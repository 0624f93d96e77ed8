"""From texts and a teacher's statistics of them to tensors: one :class:`DistillBatch` a teacher and batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cogen.fusion.distill.alignment.align import Chunks, align
from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.losses.loss import DistillBatch

if TYPE_CHECKING:
    import torch

#: What is learned nowhere.
IGNORED = -100


@dataclass(frozen=True)
class AlignedText:
    """One text as a teacher read it, beside the student: ``statistics`` as the cache gives them, a row a token."""

    encoded: Encoded
    chunks: Chunks
    statistics: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, student: Encoded, teacher: Encoded, statistics: Mapping[str, np.ndarray]) -> AlignedText:
        return cls(teacher, align(student.ends, teacher.ends), statistics)


def student_batch(texts: Sequence[Encoded], padding: int, *, closing: bool = True) -> dict[str, torch.Tensor]:
    """What the student reads: ``input_ids``, ``attention_mask`` and ``targets``, each of shape (B, T).

    ``targets[b, t]`` is the token that row t predicts. An answer is learned, and with ``closing`` what closes it; a
    prompt is not.
    """
    import torch

    width = max(len(text.ids) for text in texts)
    ids = np.full((len(texts), width), padding, dtype=np.int64)
    mask = np.zeros((len(texts), width), dtype=np.int64)
    targets = np.full((len(texts), width), IGNORED, dtype=np.int64)
    for row, text in enumerate(texts):
        n = len(text.ids)
        ids[row, :n] = text.ids
        mask[row, :n] = 1
        if text.stop > text.start:
            end = n if closing else text.stop
            targets[row, text.start - 1 : end - 1] = text.ids[text.start : end]
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "targets": torch.from_numpy(targets),
    }


def collate(texts: Sequence[Encoded], aligned: Sequence[AlignedText | None], targets: torch.Tensor) -> DistillBatch:
    """The batch's rows beside one teacher's; ``None`` where it does not teach a text.

    :param targets: of :func:`student_batch`, shape (B, T); row ``b * T + t`` of the pair predicts ``targets[b, t]``.
    """
    import torch

    width = targets.shape[1]
    chunk = np.full(targets.numel(), -1, dtype=np.int64)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("start", "after", "text", "single", "teacher_target")}
    found: dict[str, list[np.ndarray]] = {}
    count = 0
    for index, (text, text_) in enumerate(zip(texts, aligned, strict=True)):
        if text_ is None or not len(text_.chunks.end):
            continue
        cut = text_.chunks
        zero = index * width + text.start - 1  # the row that predicts the first token of the answer
        n = len(cut.end)
        parts["start"].append(zero + cut.a_first)
        parts["after"].append(zero + cut.a_last + 1)
        parts["text"].append(np.full(n, index))
        parts["single"].append((cut.a_first == cut.a_last) & (cut.b_first == cut.b_last))
        parts["teacher_target"].append(text_.encoded.ids[text_.encoded.start + cut.b_first])
        for number, (first, last) in enumerate(zip(cut.a_first, cut.a_last, strict=True), count):
            chunk[zero + first : zero + last + 1] = number
        for name, values in _chunk_statistics(cut, text_.statistics).items():
            found.setdefault(name, []).append(values)
        count += n
    made = {
        name: torch.from_numpy(np.concatenate(values).astype(bool if name == "single" else np.int64))
        if values
        else torch.zeros(0, dtype=torch.bool if name == "single" else torch.int64)
        for name, values in parts.items()
    }
    statistics = {
        name: torch.from_numpy(np.concatenate(values).astype(np.int64 if name == "ids" else np.float32))
        for name, values in found.items()
    }
    return DistillBatch(targets=targets.reshape(-1), chunk=torch.from_numpy(chunk), **made, **statistics)


def _chunk_statistics(cut: Chunks, statistics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A teacher's statistics at the chunks: sums of log-probabilities, and its statistics at their starts and ends."""
    found: dict[str, np.ndarray] = {}
    if "logprob" in statistics:
        sums = np.concatenate([[0.0], np.cumsum(statistics["logprob"], dtype=np.float64)])
        found["logprob"] = sums[cut.b_last + 1] - sums[cut.b_first]
    if "boundary" in statistics:
        found["boundary"] = statistics["boundary"][cut.b_last + 1]
    for name, there in (("top", "top"), ("ids", "sparse_ids"), ("logprobs", "sparse_logprobs")):
        if there in statistics:
            found[name] = statistics[there][cut.b_first]
    return found
