"""From token counts to what routers compare: a mean state of the base, or a mean sentence embedding.

Counts say which words a field uses, not in which order. Tokens drawn from them in a random order are read by the model,
and so are as many that are drawn from the counts of the general text: the difference of the two means is the field's,
what both have in common (the disorder) falls out, and it is added to the mean on the general text as it stands.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from cogen.evals import calibration_texts
from cogen.evals.settings import prefix_token_id
from cogen.routing.states import WINDOW

if TYPE_CHECKING:
    import torch

    from cogen.routing.anchors import Anchor
    from cogen.routing.embedder import Embedder
    from cogen.routing.statistics import TokenCounts

#: Tokens that are drawn from an expert's counts, and as many from those of the general text.
TOKENS = 8192
#: Tokens of a drawn text for a sentence embedder, which reads 256 of its own at most.
SENTENCE = 64
_SEED = 0


def state_from_counts(anchor: Anchor, counts: TokenCounts) -> torch.Tensor:
    """Mean state of the base on a text with these counts, estimated: shape (layers, hidden), float64."""
    prefix = prefix_token_id(anchor.tokenizer)

    def mean(drawn: list[int]) -> torch.Tensor:
        return anchor.mean_of([[prefix, *drawn[i : i + WINDOW]] for i in range(0, TOKENS, WINDOW)])

    own, general = _both(counts, anchor.tokenizer)
    return anchor.general.mean.double() + mean(own) - mean(general)


def embedding_from_counts(embedder: Embedder, tokenizer: Any, counts: TokenCounts) -> torch.Tensor:
    """Mean sentence embedding of a text with these counts, estimated: shape (dimensions,), float32.

    :param tokenizer: that the tokens are of.
    """

    def mean(drawn: list[int]) -> torch.Tensor:
        texts = [
            tokenizer.decode(drawn[i : i + SENTENCE], skip_special_tokens=True) for i in range(0, TOKENS, SENTENCE)
        ]
        return embedder.encode(texts).double().mean(0)

    own, general = _both(counts, tokenizer)
    return (embedder.encode(calibration_texts()).double().mean(0) + mean(own) - mean(general)).float()


def _both(counts: TokenCounts, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Tokens drawn from an expert's counts, and from those of the general text.

    An expert's counts have no rare tokens: those that are as rare in the general text are left out there, too, or the
    difference would be one between common and rare words.
    """
    rarest = int(counts.counts.min()) / int(counts.counts.sum())
    texts = tokenizer(calibration_texts(), add_special_tokens=False, verbose=False)["input_ids"]
    general = Counter(token for ids in texts for token in ids)
    least = rarest * general.total()
    kept = sorted((token, count) for token, count in general.items() if count >= least) or sorted(general.items())
    ids, weights = zip(*kept, strict=True)
    return _drawn(counts.ids.tolist(), counts.counts.tolist()), _drawn(list(ids), list(weights))


def _drawn(ids: list[int], weights: list[int]) -> list[int]:
    return random.Random(_SEED).choices(ids, weights, k=TOKENS)
