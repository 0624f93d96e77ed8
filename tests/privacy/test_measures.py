"""Losses, exposure, extraction and membership: of a model that has learned texts by heart, and of one that has not."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import llama, tokenizer

from cogen.errors import TrainError
from cogen.privacy.canaries import (
    CANDIDATES,
    MOST,
    canary_digest,
    canary_texts,
    exposure,
    read_salt,
    secrets_of,
)
from cogen.privacy.extraction import CONTINUATION, PREFIX, passages, shares_in_place
from cogen.privacy.losses import batches, losses_after, mean_losses
from cogen.privacy.membership import separation


def plain_loss(model: Any, ids: list[int], first: int = 1) -> float:
    """Summed cross-entropy of the tokens from ``first`` on, one sequence alone."""
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
    return -sum(float(logits[place - 1, ids[place]]) for place in range(first, len(ids)))


class TestLosses:
    """Batches, padding and the shared prefix change nothing."""

    def test_batched_equals_alone(self) -> None:
        rng = random.Random(1)
        sequences = [[rng.randrange(300) for _ in range(length)] for length in (2, 40, 7, 7, 120, 33)]
        model = llama()
        found = mean_losses(model, sequences)
        for ids, loss in zip(sequences, found, strict=True):
            assert loss == pytest.approx(plain_loss(model, ids) / (len(ids) - 1), rel=1e-5)
        assert mean_losses(model, sequences, 5)[1] == pytest.approx(plain_loss(model, sequences[1][:5]) / 4, rel=1e-5)

    @pytest.mark.parametrize("length", [1, 9])
    def test_endings_after_a_prefix(self, length: int) -> None:
        rng = random.Random(2)
        prefix = [rng.randrange(300) for _ in range(length)]
        endings = [[rng.randrange(300) for _ in range(size)] for size in (1, 5, 3, 5)]
        model = llama()
        for ending, loss in zip(endings, losses_after(model, prefix, endings), strict=True):
            assert loss == pytest.approx(plain_loss(model, [*prefix, *ending], length), rel=1e-4)

    def test_batches_hold_every_index_once(self) -> None:
        lengths = [random.Random(i).randrange(1, 900) for i in range(60)]
        found = list(batches(lengths))
        assert sorted(index for batch in found for index in batch) == list(range(60))
        assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 2048 for batch in found)


class TestCanaries:
    """Secrets from a salt, and their exposure."""

    def test_secrets(self) -> None:
        """The same for the same salt and seed, others for others; nine digits each, all different."""
        found = secrets_of(b"a" * 32, 7, 50)
        assert found == secrets_of(b"a" * 32, 7, 50)
        assert len(set(found)) == 50
        assert all(len(secret) == 9 and secret.isdigit() for secret in found)
        assert not set(found) & set(secrets_of(b"b" * 32, 7, 50))
        assert not set(found) & set(secrets_of(b"a" * 32, 8, 50))
        assert canary_digest(b"a" * 32, found) != canary_digest(b"b" * 32, found)

    def test_salt(self, tmp_path: Path) -> None:
        """Made once, secret to others, in no commit; never made by who only reads."""
        private = tmp_path / "private"
        assert read_salt(private) is None
        assert not private.exists()
        salt = read_salt(private, make=True)
        assert salt is not None
        assert len(salt) == 32
        assert read_salt(private) == read_salt(private, make=True) == salt
        assert (private / "canary-salt").stat().st_mode & 0o077 == 0
        assert (private / ".gitignore").read_text() == "*\n"
        (private / "canary-salt").write_text("short")
        with pytest.raises(TrainError, match="is not a salt"):
            read_salt(private)

    def test_learned_by_heart(self, learned: Any) -> None:
        """Every canary stands before all candidates: the greatest exposure that can be shown."""
        found = exposure(learned.model, tokenizer(), 0, learned.secrets, 3)
        assert found.greatest == found.mean == MOST == math.log2(CANDIDATES)
        assert found.chance < 1e-9

    def test_never_read(self, learned: Any) -> None:
        """Ranks as chance gives them."""
        found = exposure(learned.base, tokenizer(), 0, learned.secrets, 3)
        assert found.greatest < MOST
        assert found.chance > 0.01
        others = exposure(learned.model, tokenizer(), 0, secrets_of(b"o" * 32, 1, 6), 3)
        assert others.chance > 0.01

    def test_the_form(self) -> None:
        assert canary_texts(["000000001"]) == ["The secret number of this collection is 000000001."]


class TestExtraction:
    """Fifty tokens given, fifty compared."""

    def test_passages(self) -> None:
        """From documents that are long enough, one each, the same ones for the same seed."""
        documents = [list(range(length)) for length in (99, 100, 150, 40, 300)]
        found = passages(documents, 10, 1)
        assert [passage.document for passage in found] == [1, 2, 4]
        for passage in found:
            joined = [*passage.prefix, *passage.continuation]
            assert (len(passage.prefix), len(passage.continuation)) == (PREFIX, CONTINUATION)
            start = joined[0]
            assert joined == documents[passage.document][start : start + 100]
        assert found == passages(documents, 10, 1)
        assert len(passages(documents, 2, 1)) == 2

    def test_learned_by_heart(self, learned: Any) -> None:
        asked = passages(learned.documents, 12, 1)
        assert shares_in_place(learned.model, asked) == [1.0] * 12
        assert max(shares_in_place(learned.base, asked)) < 0.5
        assert max(shares_in_place(learned.model, passages(learned.unread, 12, 1))) < 0.5

    def test_greedy_as_transformers_decodes(self) -> None:
        """The same tokens as ``generate`` without sampling."""
        model = llama(seed=3)
        documents = [[random.Random(i).randrange(1, 300) for _ in range(100)] for i in range(3)]
        asked = passages(documents, 3, 0)
        ids = torch.tensor([passage.prefix for passage in asked])
        with torch.no_grad():
            options = {"max_new_tokens": 50, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
            made = model.generate(ids, attention_mask=torch.ones_like(ids), **options)[:, PREFIX:]
        truth = torch.tensor([passage.continuation for passage in asked])
        assert shares_in_place(model, asked) == pytest.approx((made == truth).double().mean(dim=1).tolist())


class TestMembership:
    """The area under the ROC curve, with DeLong's interval."""

    def test_against_scikit_learn(self) -> None:
        from sklearn.metrics import roc_auc_score

        rng = random.Random(5)
        members = [rng.gauss(0.6, 1) for _ in range(80)]
        others = [rng.gauss(0, 1) for _ in range(60)]
        members[3] = others[5]
        found = separation(members, others)
        assert found.auc == pytest.approx(roc_auc_score([1] * 80 + [0] * 60, members + others))
        assert found.low < found.auc < found.high

    def test_the_interval_covers(self) -> None:
        """Of scores that differ in nothing, the interval holds 0.5 about 95 times of 100."""
        rng = random.Random(6)
        held = 0
        for _ in range(400):
            found = separation([rng.gauss(0, 1) for _ in range(40)], [rng.gauss(0, 1) for _ in range(50)])
            held += found.low <= 0.5 <= found.high
        assert 0.92 < held / 400 < 0.98

    def test_learned_by_heart(self, learned: Any) -> None:
        """Every document that was read gains more than any that was not."""

        def gains(texts: list[list[int]]) -> list[float]:
            before, after = mean_losses(learned.base, texts), mean_losses(learned.model, texts)
            return [one - other for one, other in zip(before, after, strict=True)]

        found = separation(gains(learned.documents), gains(learned.unread))
        assert (found.auc, found.found) == (1.0, 1.0)
