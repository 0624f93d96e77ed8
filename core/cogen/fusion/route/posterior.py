"""The Bayes-posterior ensemble: all experts run, and each counts as much as it foresaw the text so far.

Before token t expert e has the weight

    w_e(t)  ∝  exp(κ Σ_{s<t} log p_e(x_s | x_<s))

and the ensemble predicts Σ_e w_e(t) p_e(x_t | x_<t). With κ = 1 that is Bayes' rule for experts of which one wrote the
whole text (DEMix, arXiv:2108.05036, weights domains so); κ < 1 tempers it, since tokens are not independent evidence.
It is causal and needs nothing but the experts, at the cost of running all of them: what routing is measured against.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Tempering of the evidence, chosen on dev documents of five experts.
KAPPA = 0.3


def log_weights(evidence: torch.Tensor, kappa: float = KAPPA) -> torch.Tensor:
    """Logarithms of the weights, from the sum of log-likelihoods so far; the first dimension is that of the experts."""
    return (kappa * evidence).log_softmax(0)


def mixed_scores(scores: torch.Tensor, kappa: float = KAPPA) -> torch.Tensor:
    """Log-likelihood in nats of every token by the ensemble, shape (tokens,).

    :param scores: that of each expert, shape (experts, tokens), in the order of the text.
    """
    before = scores.cumsum(1) - scores
    return (log_weights(before, kappa) + scores).logsumexp(0)


@dataclasses.dataclass
class EnsembleCache:
    """What a step leaves for the next one.

    :param members: each expert's own cache.
    :param evidence: sum of log-likelihoods of the tokens so far, shape (experts, batch).
    :param last: log-probabilities of the next token, shape (experts, batch, vocabulary).
    """

    members: list[Any]
    evidence: torch.Tensor
    last: torch.Tensor

    def get_seq_length(self) -> int:
        """Tokens in the cache, padding included."""
        return int(self.members[0].get_seq_length())

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows of the batch."""
        for cache in self.members:
            cache.batch_select_indices(indices)
        self.evidence, self.last = self.evidence[:, indices], self.last[:, indices]


@dataclasses.dataclass(frozen=True)
class EnsembleOutput:
    """``logits``: log-probabilities of the ensemble, shape (batch, positions, vocabulary)."""

    logits: torch.Tensor
    past_key_values: EnsembleCache


class PosteriorEnsemble:
    """Several causal language models with one tokenizer as one, called as those of transformers are.

    Of the text, every token but the first counts as evidence: the first has nothing before it that predicts it.
    """

    def __init__(self, models: Sequence[Any], kappa: float = KAPPA) -> None:
        self._models, self._kappa = list(models), kappa
        first = self._models[0]
        self.config, self.generation_config, self.device = first.config, first.generation_config, first.device

    def __call__(self, *args: Any, **options: Any) -> EnsembleOutput:
        return self.forward(*args, **options)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: EnsembleCache | None = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
    ) -> EnsembleOutput:
        """
        :param input_ids: shape (batch, tokens); with a cache, the tokens that follow it.
        :param attention_mask: shape (batch, all tokens); 0 for padding, which may stand on the left only.
        :param logits_to_keep: of the last so many positions; 0: of all.
        """
        import torch

        batch, length = input_ids.shape
        before = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = torch.ones(batch, before + length, device=input_ids.device) if attention_mask is None else attention_mask
        kept = length if logits_to_keep == 0 else min(logits_to_keep, length)
        evidence: list[torch.Tensor] = []
        last: list[torch.Tensor] = []
        logs: list[torch.Tensor] = []
        caches: list[Any] = []
        for number, model in enumerate(self._models):
            past = None if past_key_values is None else past_key_values.members[number]
            out, cache = _run(model, input_ids, mask.long(), position_ids, past)
            own = out.logits.float().log_softmax(-1)  # shape (batch, tokens, vocabulary)
            # What foresaw each of the tokens: the position before it.
            foresaw = own[:, :-1].gather(-1, input_ids[:, 1:, None])[..., 0].double()
            if past_key_values is None:
                first = torch.zeros(batch, 1, dtype=torch.float64, device=own.device)
                start = torch.zeros(batch, dtype=torch.float64, device=own.device)
            else:
                first = past_key_values.last[number].gather(-1, input_ids[:, :1]).double()
                start = past_key_values.evidence[number]
            # A token counts where neither it nor the one before it is padding.
            counts = mask[:, before:].bool()
            counts = counts & torch.cat([mask.new_zeros(batch, 1), mask], dim=1)[:, before : before + length].bool()
            steps = torch.cat([first, foresaw], dim=1).where(counts, torch.zeros((), dtype=torch.float64))
            evidence.append(start[:, None] + steps.cumsum(1))
            last.append(own[:, -1])
            logs.append(own[:, -kept:])
            caches.append(cache)
        sums = torch.stack(evidence)  # shape (experts, batch, tokens)
        weights = log_weights(sums[..., -kept:], self._kappa).float()
        mixed = torch.stack([weight[..., None] + log for weight, log in zip(weights, logs, strict=True)]).logsumexp(0)
        return EnsembleOutput(mixed, EnsembleCache(caches, sums[..., -1], torch.stack(last)))

    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        max_new_tokens: int,
        do_sample: bool = False,
        temperature: float = 1.0,
        streamer: Any = None,
        pad_token_id: int | None = None,
    ) -> torch.Tensor:
        """One continuation of one prompt, its tokens before it, as transformers' ``generate`` gives it.

        :param input_ids: shape (1, tokens).
        """
        import torch

        ends = _ends(self.generation_config)
        if streamer is not None:
            streamer.put(input_ids.cpu())
        ids, step, cache = input_ids, input_ids, None
        with torch.no_grad():
            for _ in range(max_new_tokens):
                out = self(step, past_key_values=cache, logits_to_keep=1)
                cache, logits = out.past_key_values, out.logits[:, -1]
                shares = (logits / temperature).softmax(-1) if do_sample else logits
                step = torch.multinomial(shares, 1) if do_sample else logits.argmax(-1, keepdim=True)
                ids = torch.cat([ids, step], dim=1)
                if streamer is not None:
                    streamer.put(step[0].cpu())
                if int(step) in ends:
                    break
        if streamer is not None:
            streamer.end()
        return ids


def _run(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None, past: Any
) -> tuple[Any, Any]:
    """A member's output and its cache."""
    takes = inspect.signature(model.forward).parameters
    # transformers 5.24 calls the cache by another name, and warns about the former one.
    cached = "cache" if "cache" in takes else "past_key_values"
    extra = {} if past is None else {cached: past}
    if positions is not None and "position_ids" in takes:
        extra["position_ids"] = positions
    out = model(input_ids=ids, attention_mask=mask, use_cache=True, **extra)
    return out, getattr(out, cached)


def _ends(settings: Any) -> frozenset[int]:
    ids = getattr(settings, "eos_token_id", None)
    return frozenset([] if ids is None else [int(ids)] if isinstance(ids, int) else map(int, ids))
