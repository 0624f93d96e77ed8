"""Many prompts at once: greedy or sampled continuations with a key/value cache, one batch after another.

transformers' ``generate`` keeps every row of a batch until the last has ended, and samples with ``torch.multinomial``,
which takes longer on a CPU than a small model's layers. Here rows that have ended leave the batch, and one uniform
number a row picks the token from the cumulated probabilities.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.chat_templates import render_chat
from cogen.errors import EvalError

if TYPE_CHECKING:
    import torch

#: Rows are removed from a batch when at least this share of them has ended: every removal copies the cache.
_COMPACT = 0.25


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    :param limit: the most new tokens of one continuation.
    :param temperature: 0 is greedy.
    :param min_p: tokens below this share of the likeliest one's probability are never drawn (arXiv:2407.01082).
    :param batch: prompts that are continued together.
    """

    limit: int
    temperature: float = 0.0
    min_p: float = 0.0
    seed: int = 0
    batch: int = 32


@dataclass(frozen=True)
class Continuation:
    """New token ids without the one that ended them; ``ended``: by itself, within the limit."""

    ids: tuple[int, ...]
    ended: bool


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a generation: the tokenizer's end of text, and what the model's own settings name."""
    found: set[int] = set()
    settings = getattr(model, "generation_config", None)
    for ids in (tokenizer.eos_token_id, getattr(settings, "eos_token_id", None)):
        found.update([] if ids is None else [int(ids)] if isinstance(ids, int) else map(int, ids))
    if not found:
        raise EvalError("the model has no end-of-text token, so generation never ends", hint="set its eos_token")
    return frozenset(found)


def render_question(tokenizer: Any, question: str) -> list[int]:
    """Token ids of a user's question in the model's chat template, up to where the answer begins."""
    text = render_chat(tokenizer, [{"role": "user", "content": question}], ask=True)
    # The template writes the special tokens itself: a second beginning of text would be one too many.
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    ends: frozenset[int],
    on_tokens: Callable[[int], None] = lambda _: None,
) -> list[Continuation]:
    """Continue every prompt; in the order of ``prompts``.

    :param prompts: token ids, none of them empty.
    :param ends: tokens that end a continuation.
    :param on_tokens: called after every step with the number of new tokens.
    """
    import torch

    draws = torch.rand((len(prompts), sampling.limit), generator=torch.Generator().manual_seed(sampling.seed))
    found: list[Continuation | None] = [None] * len(prompts)
    # Prompts of like length together: less padding. Which prompts share a batch depends on the prompts alone.
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    with torch.inference_mode():
        for start in range(0, len(order), sampling.batch):
            batch = order[start : start + sampling.batch]
            done = _continue(model, [prompts[i] for i in batch], draws[batch], sampling, ends, on_tokens)
            for index, continuation in zip(batch, done, strict=True):
                found[index] = continuation
    return [continuation for continuation in found if continuation is not None]


def inner(model: Any) -> Any:
    """The transformers model in a peft model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _continue(
    model: Any,
    prompts: list[Sequence[int]],
    draws: torch.Tensor,
    sampling: Sampling,
    ends: frozenset[int],
    on_tokens: Callable[[int], None],
) -> list[Continuation]:
    """One batch. ``draws`` has shape (prompts, limit), uniform in [0, 1)."""
    import torch

    device = model.device
    longest = max(map(len, prompts))
    filler = prompts[0][0]  # any id: masked
    ids = torch.tensor([[filler] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    takes = inspect.signature(inner(model).forward).parameters
    places = "position_ids" in takes
    # transformers 5.24 calls the cache by another name, and warns about the former one.
    cached = "cache" if "cache" in takes else "past_key_values"
    rows = list(range(len(prompts)))  # of the batch, still running or not yet removed
    written: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    cache: Any = None
    for step in range(sampling.limit):
        extra = {"position_ids": positions} if places else {}
        extra |= {cached: cache} if cache is not None else {}
        out = model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1, **extra)
        cache = getattr(out, cached)
        chosen = _choose(out.logits[:, -1], draws[rows, step].to(device), sampling)
        for row, id in zip(rows, chosen.tolist(), strict=True):
            if not ended[row]:
                if id in ends:
                    ended[row] = True
                else:
                    written[row].append(id)
        running = [place for place, row in enumerate(rows) if not ended[row]]
        on_tokens(len(running))
        if not running:
            break
        if len(rows) - len(running) >= _COMPACT * len(rows) and hasattr(cache, "batch_select_indices"):
            kept = torch.tensor(running, device=device)
            cache.batch_select_indices(kept)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            rows = [rows[place] for place in running]
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return [Continuation(tuple(ids), end) for ids, end in zip(written, ended, strict=True)]


def _choose(logits: torch.Tensor, draws: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """One token a row: the likeliest, or the one that the row's uniform number falls on; shape (rows,)."""
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    shares = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.min_p:
        shares = shares.where(shares >= sampling.min_p * shares.amax(-1, keepdim=True), 0.0)
    cumulated = shares.cumsum(-1)
    found = torch.searchsorted(cumulated, (draws * cumulated[:, -1])[:, None], right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)
