"""What one token says of its text: smoothed log-odds of every expert's token frequencies against general text's.

A unigram (naive Bayes) model. One token tells its field poorly; the mean over the tokens before it tells it well, and
attention can take that mean: see docs/prefix-routing.md. Frequencies are those of the samples, or the counts that a
publisher ships in their place; no model is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cogen.reporter import SILENT, Reporter
from cogen.routing.turns import template_tokens

if TYPE_CHECKING:
    import torch

    from cogen.routing.statistics import TokenCounts

#: Pseudo-counts that pull each frequency towards the prior.
PSEUDO_COUNTS = 2000.0
#: Counts of more tokens than this are scaled down to it. Samples have at most about as many: the smoothing then weighs
#: as much for an expert that ships the counts of a whole corpus.
MOST_TOKENS = 16_384
#: Tokens whose frequencies are averaged at a time.
_TOKENS = 8192


def count_tokens(tokenizer: Any, texts: Sequence[str], size: int) -> torch.Tensor:
    """How often each token occurs in the texts, shape (size,), float64; ``size``: rows of the model's embedding."""
    import torch

    counts = torch.zeros(size, dtype=torch.float64)
    for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]:
        counts += torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=size).double()
    return counts


def shipped_counts(counts: TokenCounts, general: torch.Tensor) -> torch.Tensor:
    """Counts that a publisher ships, shape (size,), float64, with those that the floor hides filled in.

    A token below the floor is not counted although it may occur. Where general text would lead us to expect fewer
    occurrences than the rarest listed token has, nothing is known, and the expected number is taken.

    :param general: counts of the general text, shape (size,).
    """
    import torch

    found = torch.zeros_like(general)
    found[counts.ids] = counts.counts.double()
    expected = general / general.sum() * found.sum()
    hidden = (found == 0) & (expected < float(counts.counts.min()))
    return torch.where(hidden, expected, found)


def log_odds(
    counts: Mapping[str, torch.Tensor], general: torch.Tensor, silent: Sequence[int], *, pooled: bool
) -> dict[str, torch.Tensor]:
    """Evidence of every token for every expert: log p(token | expert) / p(token | general), shape (size,), float64.

    ``p(token | text) = (count + a·prior) / (tokens + a)`` with ``a`` = :data:`PSEUDO_COUNTS`.

    :param counts: of each expert, shape (size,); ``general``: of the general text.
    :param silent: tokens that say nothing: of the chat template, and special ones.
    :param pooled: the prior is the mean of all experts' frequencies and the general text's; else of the expert's own
        and the general text's alone, so that the evidence for an expert depends on no other one.
    """
    return dict(zip(counts, log_odds_of_each(counts, general, silent, pooled=pooled), strict=True))


def log_odds_of_each(
    counts: Mapping[str, torch.Tensor], general: torch.Tensor, silent: Sequence[int], *, pooled: bool
) -> Iterator[torch.Tensor]:
    """:func:`log_odds` of one expert after another, in the order of ``counts``: for many, only one is in memory."""
    import torch

    background = _capped(general)
    usual = background / background.sum()
    everybody = mean_frequencies(counts, general) if pooled else usual
    for own in map(_capped, counts.values()):
        prior = everybody if pooled else (own / own.sum() + usual) / 2
        evidence = _smoothed(own, prior).log() - _smoothed(background, prior).log()
        # A token that nobody has seen has no frequency in either: nothing is known of it.
        evidence = torch.where(prior > 0, evidence, torch.zeros_like(evidence))
        evidence[list(silent)] = 0.0
        yield evidence


def mean_frequencies(counts: Mapping[str, torch.Tensor], general: torch.Tensor) -> torch.Tensor:
    """Of every token in the texts of all experts and in general text, each text counting alike: shape (size,)."""
    import torch

    texts = [_capped(general), *(_capped(counts[id]) for id in sorted(counts))]
    totals = [text.sum() for text in texts]
    found = []
    for start in range(0, len(general), _TOKENS):  # never all experts' frequencies of all tokens at once
        part = slice(start, start + _TOKENS)
        found.append(torch.stack([text[part] / total for text, total in zip(texts, totals, strict=True)]).mean(0))
    return torch.cat(found)


def _capped(counts: torch.Tensor) -> torch.Tensor:
    total = float(counts.sum())
    return counts * (MOST_TOKENS / total) if total > MOST_TOKENS else counts


def _smoothed(counts: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    return (counts + PSEUDO_COUNTS * prior) / (counts.sum() + PSEUDO_COUNTS)


def silent_tokens(tokenizer: Any, reporter: Reporter = SILENT) -> list[int]:
    """Special tokens, and those that the chat template writes around what people say; ascending.

    A default system prompt's "helpful assistant" must not send every chat to an expert of language models.
    """
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return sorted(special | set(tokenizer.all_special_ids) | template_tokens(tokenizer, reporter))
