"""The Bayes-posterior ensemble against a float64 reference, its laws, and as a model that generates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.tiny import llama, tokenizer

from cogen.evals.generation import Sampling, end_tokens, generate
from cogen.fusion.route.posterior import KAPPA, PosteriorEnsemble, mixed_scores

PROMPTS = ([5, 9, 3, 17, 4], [8, 6], [12, 7, 7, 21, 3, 9, 30])


def reference(scores: Sequence[Sequence[float]], kappa: float) -> list[float]:
    """The definition, with weights that are not kept as logarithms."""
    found = []
    for t in range(len(scores[0])):
        weights = [math.exp(kappa * math.fsum(own[:t])) for own in scores]
        found.append(
            math.log(
                math.fsum(w * math.exp(own[t]) for w, own in zip(weights, scores, strict=True)) / math.fsum(weights)
            )
        )
    return found


def scores_of(models: Sequence[Any], ids: Sequence[int]) -> list[list[float]]:
    """Log-likelihood of every token but the first, in float64."""
    found = []
    for model in models:
        logs = model(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)
        found.append([float(logs[at, id]) for at, id in enumerate(ids[1:])])
    return found


@pytest.fixture(scope="module")
def models() -> list[Any]:
    return [llama(seed, "float32") for seed in (1, 2, 3)]


class TestScores:
    """The formula on given log-likelihoods."""

    @pytest.mark.parametrize("kappa", [0.0, KAPPA, 1.0])
    def test_the_closed_form(self, kappa: float) -> None:
        """For three experts and forty tokens, whatever the tempering."""
        scores = -6 * torch.rand(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        assert mixed_scores(scores, kappa).tolist() == pytest.approx(reference(scores.tolist(), kappa), rel=1e-12)

    def test_without_evidence_it_is_the_uniform_ensemble(self) -> None:
        """The first token, and with kappa 0 all of them."""
        scores = torch.tensor([[-1.0, -2.0], [-3.0, -0.5]], dtype=torch.float64)
        uniform = scores.logsumexp(0) - math.log(2)
        assert torch.equal(mixed_scores(scores)[0], uniform[0]) or abs(mixed_scores(scores)[0] - uniform[0]) < 1e-15
        assert torch.allclose(mixed_scores(scores, 0.0), uniform, rtol=0, atol=1e-15)

    def test_kappa_one_is_the_likelihood_of_a_mixture_of_texts(self) -> None:
        """Bayes: the product over all tokens is the mean of the experts' likelihoods of the whole text."""
        scores = -3 * torch.rand(4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        whole = scores.sum(1).logsumexp(0) - math.log(4)
        assert float(mixed_scores(scores, 1.0).sum()) == pytest.approx(float(whole), rel=1e-12)

    def test_one_expert_and_equal_experts(self) -> None:
        """Both are that expert."""
        own = -4 * torch.rand(1, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
        assert torch.equal(mixed_scores(own), own[0])
        assert torch.allclose(mixed_scores(own.expand(5, -1)), own[0], rtol=1e-13)

    def test_it_is_causal(self) -> None:
        """What comes later changes nothing before it."""
        scores = -4 * torch.rand(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
        other = scores.clone()
        other[:, 12:] *= 3
        assert torch.equal(mixed_scores(scores)[:12], mixed_scores(other)[:12])
        assert not torch.equal(mixed_scores(scores)[12:], mixed_scores(other)[12:])


class TestModel:
    """The same as a model."""

    def test_it_predicts_what_the_formula_says(self, models: list[Any]) -> None:
        """Every token of a text, from one forward pass."""
        ids = [*PROMPTS[0], *PROMPTS[2]]
        with torch.no_grad():
            out = PosteriorEnsemble(models)(torch.tensor([ids]))
            expected = reference(scores_of(models, ids), KAPPA)
        found = [float(out.logits[0, at, id]) for at, id in enumerate(ids[1:])]
        assert found == pytest.approx(expected, rel=1e-5)
        assert torch.allclose(out.logits.exp().sum(-1), torch.ones(1, len(ids)), atol=1e-5)

    def test_one_model_and_equal_models(self, models: list[Any]) -> None:
        """Both predict as that model does."""
        ids = torch.tensor([PROMPTS[2]])
        with torch.no_grad():
            own = models[0](ids).logits.log_softmax(-1)
            for count in (1, 3):
                assert torch.allclose(PosteriorEnsemble([models[0]] * count)(ids).logits, own, atol=1e-5)

    def test_the_order_of_the_models_does_not_matter(self, models: list[Any]) -> None:
        """All six orders."""
        ids = torch.tensor([PROMPTS[2]])
        with torch.no_grad():
            first, *others = [PosteriorEnsemble(order)(ids).logits for order in itertools.permutations(models)]
        for other in others:
            assert torch.allclose(first, other, atol=1e-5)

    def test_a_cache_changes_nothing(self, models: list[Any]) -> None:
        """Token by token, in two pieces, and at once."""
        ids = torch.tensor([[*PROMPTS[0], *PROMPTS[2]]])
        ensemble = PosteriorEnsemble(models)
        with torch.no_grad():
            whole = ensemble(ids).logits[:, -1]
            for pieces in ([ids[:, :4], ids[:, 4:]], list(ids.split(1, dim=1))):
                cache = None
                for piece in pieces:
                    out = ensemble(piece, past_key_values=cache, logits_to_keep=1)
                    cache = out.past_key_values
                assert torch.allclose(out.logits[:, -1], whole, atol=1e-5)

    def test_a_batch_gives_what_each_prompt_gives(self, models: list[Any]) -> None:
        """Prompts of unlike lengths, padded on the left: padding is no evidence. Each ends at its own time."""
        ensemble = PosteriorEnsemble(models)
        sampling = Sampling(limit=8)
        ends = frozenset({int(generate(ensemble, [PROMPTS[1]], sampling, frozenset({-1}))[0].ids[3])})
        alone = [generate(ensemble, [prompt], sampling, ends)[0] for prompt in PROMPTS]
        assert generate(ensemble, PROMPTS, sampling, ends) == alone
        assert {len(one.ids) for one in alone} != {8}

    def test_generated_text_is_the_greedy_one(self, models: list[Any]) -> None:
        """``generate`` with a cache gives what repeated whole passes without one give."""
        ensemble = PosteriorEnsemble(models)
        prompt = torch.tensor([PROMPTS[0]])
        written = ensemble.generate(prompt, max_new_tokens=6)
        ids = prompt
        with torch.no_grad():
            for _ in range(6):
                ids = torch.cat([ids, ensemble(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        ends = end_tokens(models[0], tokenizer())
        stop = next((at for at, id in enumerate(ids[0, 5:].tolist()) if id in ends), 5)
        assert written[0].tolist() == ids[0, : 5 + stop + 1].tolist()
