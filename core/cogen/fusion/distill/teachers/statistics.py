"""What is kept of a teacher's logits: a few numbers a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cogen.errors import CompatibilityError
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.top import top_k

if TYPE_CHECKING:
    import torch

#: Lowest logarithm that is kept: float16 ends at -65,504, and nothing is learned from less than this.
LEAST = -1000.0


def measure(
    logits: torch.Tensor, targets: torch.Tensor, words: torch.Tensor, needs: TeacherStatistics, vocabulary: int
) -> dict[str, np.ndarray]:
    """Statistics of some rows, in float32.

    :param logits: shape (r, V), any float type; columns from ``vocabulary`` on are padding and count for nothing.
    :param targets: the tokens that stand there, shape (r,), int64.
    :param words: tokens that begin a word, shape (vocabulary,), bool.
    :returns: ``logprob`` and ``boundary``, shape (r,), float16; ``top``, shape (r, K), float16, descending;
        ``sparse_ids`` and ``sparse_logprobs``, shape (r, k), int32 and float32, descending.

    ``top`` holds logits less the row's log-sum-exp: standardising does not see the difference, and float16 keeps more
    digits of a number near zero.

    :raises CompatibilityError: a row holds a NaN or an infinity: kept, it would spoil every run that learns from it.
    """
    wide = logits[:, :vocabulary].float()
    lse = wide.logsumexp(1)
    if not bool(lse.isfinite().all()):
        raise CompatibilityError(
            "teacher produced NaN or infinite logits", hint="its weights are damaged, or overflow in its dtype"
        )
    found: dict[str, np.ndarray] = {}
    if needs.logprob:
        found["logprob"] = _half(wide.gather(1, targets[:, None])[:, 0] - lse)
    if needs.boundary:
        words = words[: wide.shape[1]]  # tokenizers may know tokens that their model has no output for: Gemma 3's
        found["boundary"] = _half(wide.masked_fill(~words, float("-inf")).logsumexp(1) - lse)
    most = max(needs.top, needs.sparse)
    if most:
        values, ids = top_k(wide, min(most, wide.shape[1]))
        values = values - lse[:, None]
        if needs.top:
            found["top"] = _half(values[:, : needs.top])
        if needs.sparse:
            found["sparse_ids"] = ids[:, : needs.sparse].int().numpy()
            found["sparse_logprobs"] = values[:, : needs.sparse].clamp(min=LEAST).numpy()
    return found


def _half(values: torch.Tensor) -> np.ndarray:
    found: np.ndarray = values.clamp(min=LEAST).half().numpy()
    return found
