"""Evidence for many experts in few dimensions."""

from __future__ import annotations

import math

import pytest
import torch

from cogen.routing.evidence import _capped, log_odds, log_odds_of_each, mean_frequencies
from cogen.routing.lowrank import factors, fitted


def made(tokens: int = 5000, experts: int = 30, rank: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(evidence of this rank, weights of tokens)."""
    generator = torch.Generator().manual_seed(1)
    if rank is None:
        evidence = torch.randn(tokens, experts, generator=generator)
    else:
        left = torch.randn(tokens, rank, generator=generator)
        evidence = left @ torch.randn(rank, experts, generator=generator)
    return evidence, torch.rand(tokens, generator=generator) ** 4


def test_evidence_of_low_rank_is_kept_whole() -> None:
    evidence, weights = made(rank=6)
    features, readouts = factors(evidence, weights, 6)
    assert features.shape == (5000, 6)
    assert readouts.shape == (30, 6)
    torch.testing.assert_close(features @ readouts.T, evidence.double(), rtol=0, atol=1e-5)


def test_the_error_is_the_least_of_this_rank() -> None:
    """Weighted by token, it is what the singular values behind the rank have (Eckart and Young)."""
    evidence, weights = made()
    singular = torch.linalg.svdvals(weights.double().sqrt()[:, None] * evidence.double())
    for rank in (1, 7, 29):
        features, readouts = factors(evidence, weights, rank)
        missed = weights.double()[:, None] * (features @ readouts.T - evidence.double()).square()
        assert float(missed.sum()) == pytest.approx(float(singular[rank:].square().sum()), rel=1e-6)


def test_frequent_tokens_are_kept_best() -> None:
    evidence, _ = made()
    weights = torch.full((5000,), 1e-6)
    weights[:4] = 1.0
    features, readouts = factors(evidence, weights, 4)
    errors = (features @ readouts.T - evidence.double()).square().mean(1)
    assert float(errors[:4].max()) < 1e-4 * float(errors[4:].mean())


def test_as_large_as_the_evidence_of_as_many_experts() -> None:
    """Of a token, whose share of a norm must not grow with the number of experts."""
    evidence, weights = made(experts=40)
    features, _ = factors(evidence, weights, 10)
    sizes = features.square().sum(1) / evidence.double().square().sum(1)
    assert float(sizes.max()) <= 10 / 40 + 1e-9


def test_signs_and_threads() -> None:
    """The same numbers however many threads compute them, and whatever sign the library gives a vector."""
    evidence, weights = made()
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(factors(evidence, weights, 5))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-9)
    largest = found[0][1].abs().argmax(0)
    assert bool((found[0][1][largest, torch.arange(5)] > 0).all())


class TestFit:
    """Forty fields of which each has some words of its own, in six dimensions."""

    @pytest.fixture
    def counts(self) -> list[torch.Tensor]:
        """The last is general text."""
        generator = torch.Generator().manual_seed(5)
        common = torch.randint(1, 20, (400,), generator=generator).double()
        found = []
        for _ in range(40):
            own = common.clone()
            own[torch.randperm(400, generator=generator)[:12]] += 200.0
            found.append(own)
        return [*found, common]

    def fit(self, counts: list[torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        *own, general = counts
        named = {str(number): one for number, one in enumerate(own)}
        evidence = torch.stack(list(log_odds_of_each(named, general, [7], pooled=True)), 1)
        start = factors(evidence, mean_frequencies(named, general), 6)
        return {"start": start, "end": fitted(start, own, general, strength=20.0, mass=20.0, memory=25.0)}

    def test_more_texts_go_to_their_expert(self, counts: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        """Of texts of 40 tokens that were drawn anew; and general text stays with the public slot."""
        monkeypatch.setattr("cogen.routing.lowrank.STEPS", 200)
        generator = torch.Generator().manual_seed(6)
        texts = torch.stack([torch.multinomial(own, 40 * 20, True, generator=generator) for own in counts])
        right = {}
        for name, (features, readouts) in self.fit(counts).items():
            logits = features.float()[texts.reshape(len(counts), 20, 40)].mean(2) @ readouts.float().T
            first = torch.nn.functional.pad(logits, (0, 1)).argmax(2)
            right[name] = (first == torch.arange(len(counts))[:, None]).float().mean(1)
        assert float(right["end"][:-1].mean()) > float(right["start"][:-1].mean()) + 0.1
        assert float(right["end"][-1]) > 0.8

    def test_bits_and_silence(self, counts: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
        """The same bits with any number of threads, which are as many as before afterwards; a token without evidence
        has none in the end."""
        monkeypatch.setattr("cogen.routing.lowrank.STEPS", 20)
        before, found = torch.get_num_threads(), []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                *own, general = counts
                start = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)), torch.ones(40, 3)
                start[0][7] = 0.0
                found.append(fitted(start, own, general, strength=20.0, mass=20.0, memory=25.0))
                assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])
        assert not found[0][0][7].any()
        assert bool((found[0][1] != 1).any())


@pytest.mark.parametrize("size", [300, 8192, 20_001])
@pytest.mark.parametrize("experts", [1, 5, 40])
def test_frequencies_by_parts_have_the_same_bits(size: int, experts: int) -> None:
    """As of all experts and tokens at once."""
    generator = torch.Generator().manual_seed(experts)

    def drawn() -> torch.Tensor:
        return torch.randint(0, 50, (size,), generator=generator).double()

    counts, general = {f"e{number}": drawn() for number in range(experts)}, drawn()
    texts = [_capped(general), *(_capped(counts[id]) for id in sorted(counts))]
    assert torch.equal(mean_frequencies(counts, general), torch.stack([t / t.sum() for t in texts]).mean(0))


@pytest.mark.parametrize("pooled", [True, False])
def test_one_expert_at_a_time(pooled: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    counts = {id: torch.randint(0, 9, (700,), generator=generator).double() for id in ("b", "a", "c")}
    general = torch.randint(0, 9, (700,), generator=generator).double()
    every = log_odds(counts, general, [3], pooled=pooled)
    assert list(every) == ["b", "a", "c"]
    for own, (id, wanted) in zip(log_odds_of_each(counts, general, [3], pooled=pooled), every.items(), strict=True):
        assert torch.equal(own, wanted)
        assert own[3] == 0
        share = (counts[id] + 2000 * mean_frequencies(counts, general)) / (counts[id].sum() + 2000)
        usual = (general + 2000 * mean_frequencies(counts, general)) / (general.sum() + 2000)
        if pooled:
            torch.testing.assert_close(own[4:], (share / usual).log()[4:])
    assert math.isfinite(float(every["a"].sum()))
