"""Token log-likelihoods agree with the harness, whose figure is their sum."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.manifests import make_expert
from support.tiny import llama, tokenizer

from cogen.evals import Settings, run_suites, suites_of
from cogen.fusion.route.documents import documents_of
from cogen.fusion.route.scores import token_scores


@pytest.mark.parametrize("length", [16, 61, 1024])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_their_sum_is_the_figure_of_the_harness(tmp_path: Any, length: int, dtype: str) -> None:
    """Document by document, in one window and in many."""
    settings = Settings(dtype=dtype, max_length=length)
    suites = suites_of(make_expert(tmp_path, "one"))
    model = llama(3, dtype)
    (result,) = run_suites(
        model,
        tokenizer(),
        suites,
        model_digest="m",
        tokenizer_digest="t",
        split="dev",
        level="full",
        dtype=dtype,
        settings=settings,
        use_cache=False,
    )
    (documents,) = documents_of(suites, tokenizer(), "dev", "full")
    assert documents.digest == result.documents
    for text, (bits, _) in zip(documents.queries, result.per_document, strict=True):
        found = token_scores(model, tokenizer(), text, settings)
        assert found.shape == (len(tokenizer()(text)["input_ids"]),)
        assert float(found.sum()) == pytest.approx(-bits * math.log(2), rel=1e-5)


def test_every_token_is_predicted_from_what_stands_before_it() -> None:
    """Against a plain forward pass over prefix token and text."""
    model, text = llama(3), "the grid operator measures voltage"
    ids = tokenizer()(text)["input_ids"]
    with torch.no_grad():
        logs = model(torch.tensor([[0, *ids]])).logits[0].log_softmax(-1)
    expected = torch.stack([logs[i, token] for i, token in enumerate(ids)])
    torch.testing.assert_close(token_scores(model, tokenizer(), text, Settings("float32")).float(), expected)
    assert token_scores(model, tokenizer(), "", Settings("float32")).shape == (0,)
