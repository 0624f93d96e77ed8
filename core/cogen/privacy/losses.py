"""Cross-entropy of token sequences, in batches of bounded size."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from cogen.reporter import SILENT, Reporter

#: Tokens of one batch: 2,048 rows of logits over 50,000 words are 400 MB in float32.
_BATCH_TOKENS = 2048


def mean_losses(
    model: Any, sequences: Sequence[Sequence[int]], lengths: int = 0, reporter: Reporter = SILENT
) -> list[float]:
    """Mean cross-entropy of each sequence, nats a token; its first token is only read.

    :param sequences: token ids, at least two each.
    :param lengths: read this many tokens of a sequence at most; 0: all.
    """
    cut = [list(sequence[:lengths] if lengths else sequence) for sequence in sequences]
    found = [0.0] * len(cut)
    for batch in batches([len(ids) for ids in cut]):
        sums = _sums(model, [cut[index] for index in batch])
        for index, total in zip(batch, sums, strict=True):
            found[index] = total / (len(cut[index]) - 1)
        reporter.advance(sum(len(cut[index]) for index in batch))
    return found


def losses_after(
    model: Any, prefix: Sequence[int], endings: Sequence[Sequence[int]], reporter: Reporter = SILENT
) -> list[float]:
    """Summed cross-entropy in nats of each ending behind one prefix, which is read once.

    :param prefix: at least one token id.
    :param endings: token ids, at least one each.
    """
    import torch

    with torch.inference_mode():
        # The last token of the prefix predicts the first of an ending: it is read with each of them.
        cache = new_cache()
        if len(prefix) > 1:
            cached(model, torch.tensor([prefix[:-1]]), cache, logits_to_keep=1)
        found = [0.0] * len(endings)
        for batch in batches([len(ids) + 1 for ids in endings]):
            rows = [[prefix[-1], *endings[index]] for index in batch]
            past = copy.deepcopy(cache)
            if len(prefix) > 1:
                past.batch_repeat_interleave(len(rows))
            for index, total in zip(batch, _sums(model, rows, past, len(prefix) - 1), strict=True):
                found[index] = total
            reporter.advance(sum(map(len, rows)))
    return found


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of sequences of like length together, at most :data:`_BATCH_TOKENS` tokens with their padding."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[index] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def new_cache() -> Any:
    """An empty cache of keys and values; :func:`cached` fills it."""
    from transformers import DynamicCache

    return DynamicCache()


def cached(model: Any, ids: Any, cache: Any, **options: Any) -> Any:
    """Logits of ``ids``, shape (batch, tokens, vocabulary), after what ``cache`` holds; appends to it."""
    # transformers renamed the argument in 5.24
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return model(ids, use_cache=True, **{name: cache}, **options).logits


def _sums(model: Any, rows: Sequence[Sequence[int]], past: Any = None, read: int = 0) -> list[float]:
    """Summed cross-entropy of each row after its first token; ``read`` tokens are in ``past`` already."""
    import torch

    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.int64)
    after = torch.full_like(ids, -100)
    mask = torch.zeros((len(rows), read + width), dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        after[index, : len(row) - 1] = ids[index, 1 : len(row)]
        mask[index, : read + len(row)] = 1  # padding stands right: causal attention never looks at it
    with torch.inference_mode():
        if past is None:
            logits = model(ids, attention_mask=mask, use_cache=False).logits
        else:
            logits = cached(model, ids, past, attention_mask=mask)
        # Flat and where they lie: a copy of the logits costs as much time as the model.
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), after.flatten(), reduction="none")
        total: list[float] = loss.view_as(after).double().sum(dim=1).tolist()
    return total
