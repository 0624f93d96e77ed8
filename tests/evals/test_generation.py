"""Batched generation: what transformers' own ``generate`` gives, one prompt at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny import chat_tokenizer, llama, tokenizer

from cogen.errors import EvalError
from cogen.evals.generation import Sampling, end_tokens, generate, render_question

PROMPTS = [[5, 6, 7], [9], [40, 41, 42, 43, 44, 45], [12, 80, 7], [200, 3]]


def alone(model: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    """Greedy, by transformers."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=0,
    )
    return list(out[0, len(prompt) :].tolist())


class TestGreedy:
    """Padding, batches and leaving rows change nothing."""

    @pytest.mark.parametrize("batch", [1, 2, 5])
    def test_equals_transformers(self, batch: int) -> None:
        """Every continuation, and whether it ended; the end is a token that comes early in some rows."""
        model = llama()
        free = [alone(model, prompt, 12, -1) for prompt in PROMPTS]
        end = free[0][3]
        wanted = [alone(model, prompt, 12, end) for prompt in PROMPTS]
        counted: list[int] = []
        found = generate(model, PROMPTS, Sampling(12, batch=batch), frozenset({end}), counted.append)
        for one, ids in zip(found, wanted, strict=True):
            assert one.ended == (ids[-1] == end)
            assert list(one.ids) == (ids[:-1] if one.ended else ids)
        assert found[0].ended
        assert sum(counted) >= sum(len(one.ids) for one in found)


class TestSampled:
    """One uniform number a row and step decides."""

    def test_repeatable_in_any_batch(self) -> None:
        """The same seed gives the same text, however the prompts are batched; another seed another."""
        model = llama()
        options = {"limit": 10, "temperature": 1.0, "seed": 3}
        one = generate(model, PROMPTS, Sampling(**options, batch=5), frozenset({0}))
        assert one == generate(model, PROMPTS, Sampling(**options, batch=2), frozenset({0}))
        assert one != generate(model, PROMPTS, Sampling(**(options | {"seed": 4})), frozenset({0}))

    def test_shares(self) -> None:
        """First tokens are drawn as the softmax has it, and none below min_p of the likeliest."""
        model = llama()
        with torch.no_grad():
            shares = torch.softmax(model(torch.tensor([[5, 6, 7]])).logits[0, -1] / 0.5, -1)
        many = [[5, 6, 7]] * 2000
        drawn = [one.ids[0] for one in generate(model, many, Sampling(1, temperature=0.5, batch=500), frozenset())]
        counts = torch.bincount(torch.tensor(drawn), minlength=300) / len(many)
        assert float((counts - shares).abs().max()) < 0.05
        kept = generate(model, many, Sampling(1, temperature=0.5, min_p=0.5, batch=500), frozenset())
        allowed = set(torch.nonzero(shares >= 0.5 * shares.max()).flatten().tolist())
        assert {one.ids[0] for one in kept} <= allowed


def test_ends_and_questions() -> None:
    """The model's own settings and the tokenizer name ends; a question is rendered up to the answer."""
    model, tok = llama(), chat_tokenizer()
    model.generation_config.eos_token_id = [4, 6]
    assert end_tokens(model, tok) == {0, 4, 6}
    assert tok.decode(render_question(tok, "the grid")) == "user: the grid<|endoftext|>\nassistant: "
    bare = chat_tokenizer()
    bare.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(EvalError, match="never ends"):
        end_tokens(model, bare)
    assert tokenizer().eos_token_id == 0
