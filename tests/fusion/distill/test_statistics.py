"""Statistics of rows of logits, and the search for the largest entries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.teachers import ALL

from cogen.errors import CompatibilityError
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.statistics import LEAST, measure
from cogen.fusion.distill.teachers.top import top_k


class TestStatistics:
    """Of rows of logits."""

    def test_padding_of_the_head_counts_for_nothing(self) -> None:
        """Pitfall 12."""
        logits, words = torch.randn(6, 20), torch.arange(20) % 2 == 0
        padded = torch.cat([logits, torch.full((6, 4), 9.0)], 1)
        targets = torch.arange(6)
        one, two = measure(logits, targets, words, ALL, 20), measure(padded, targets, words, ALL, 20)
        for name, values in one.items():
            assert np.array_equal(values, two[name]), name

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_no_number_is_not_kept(self, value: float) -> None:
        logits = torch.randn(3, 20)
        logits[1, 4] = value
        with pytest.raises(CompatibilityError, match="NaN or infinite"):
            measure(logits, torch.arange(3), torch.arange(20) % 2 == 0, ALL, 20)

    @given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 300))
    @settings(deadline=None, max_examples=60)
    def test_the_largest_entries_are_found_in_blocks(self, seed: int, k: int, width: int) -> None:
        values = torch.randn(3, width, generator=torch.Generator().manual_seed(seed)).bfloat16().float()
        k = min(k, width)
        found, ids = top_k(values, k)
        assert torch.equal(found, values.topk(k).values)
        assert torch.equal(ids, values.sort(dim=1, descending=True, stable=True).indices[:, :k])  # ties: lower first
        assert torch.equal(values.gather(1, ids), found)
        assert all(len(set(row)) == k for row in ids.tolist())

    @given(st.integers(0, 10**6), st.sampled_from(["float32", "bfloat16"]), st.floats(0.1, 12))
    @settings(deadline=None, max_examples=60)
    def test_against_float64(self, seed: int, dtype: str, spread: float) -> None:
        """In float32 inside, also of bfloat16 logits (pitfall 16); kept in float16, but for the sparse values."""
        random = torch.Generator().manual_seed(seed)
        logits = (spread * torch.randn(5, 203, generator=random)).to(getattr(torch, dtype))
        targets, words = torch.randint(0, 200, (5,), generator=random), torch.rand(200, generator=random) < 0.3
        found = measure(logits, targets, words, TeacherStatistics(True, True, 10, 40), 200)
        logp = logits[:, :200].double().log_softmax(1)
        best = logp.sort(dim=1, descending=True, stable=True)
        half = {"rtol": 1.001 * 2**-11, "atol": 1e-5}
        np.testing.assert_allclose(found["logprob"], logp.gather(1, targets[:, None])[:, 0], **half)
        np.testing.assert_allclose(found["boundary"], logp[:, words].logsumexp(1), **half)
        np.testing.assert_allclose(found["top"], best.values[:, :10], **half)
        np.testing.assert_allclose(found["sparse_logprobs"], best.values[:, :40], rtol=1e-6, atol=1e-5)
        columns = logits[:, :200].sort(dim=1, descending=True, stable=True).indices
        assert np.array_equal(found["sparse_ids"], columns[:, :40])

    @pytest.mark.parametrize(
        ("wanted", "size"),
        [
            (TeacherStatistics(), {}),
            (TeacherStatistics(logprob=True), {"logprob": 2}),
            (TeacherStatistics(boundary=True), {"boundary": 2}),
            (TeacherStatistics(top=10), {"top": 20}),
            (TeacherStatistics(sparse=7), {"sparse_ids": 28, "sparse_logprobs": 28}),
        ],
    )
    def test_only_what_is_wanted_is_measured(self, wanted: TeacherStatistics, size: dict[str, int]) -> None:
        """Bytes a row: chunk likelihoods take four, ten logits twenty."""
        found = measure(torch.randn(3, 20), torch.arange(3), torch.arange(20) % 2 == 0, wanted, 20)
        assert {name: values.nbytes / 3 for name, values in found.items()} == size

    def test_the_impossible_stays_finite(self) -> None:
        logits = torch.zeros(2, 6)
        logits[:, 1] = -1e5
        logits[:, 2] = float("-inf")
        found = measure(
            logits, torch.tensor([1, 2]), torch.zeros(6, dtype=torch.bool), TeacherStatistics(True, True, 6, 6), 6
        )
        assert found["logprob"].tolist() == found["boundary"].tolist() == [LEAST, LEAST]
        assert found["top"][0, -2:].tolist() == found["sparse_logprobs"][0, -2:].tolist() == [LEAST, LEAST]

    def test_more_is_wanted_than_there_is(self) -> None:
        found = measure(
            torch.randn(2, 6), torch.arange(2), torch.arange(6) < 2, TeacherStatistics(top=10, sparse=128), 6
        )
        assert found["top"].shape == found["sparse_ids"].shape == (2, 6)

    def test_a_tokenizer_that_knows_more_than_its_model(self) -> None:
        """Gemma 3's has a token for images, of which its text models have no row."""
        logits, words = torch.randn(4, 20), torch.arange(21) % 3 == 0
        found = measure(logits, torch.arange(4), words, TeacherStatistics(boundary=True), 21)
        wanted = logits.double().log_softmax(1)[:, words[:20]].logsumexp(1)
        np.testing.assert_allclose(found["boundary"], wanted, rtol=1e-3, atol=1e-5)
