"""Rows that no token has, tokens that have no row, and models that have no tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tokenizers import bytewise, special

from cogen.checkpoints.files import OpenFiles
from cogen.errors import CompatibilityError
from cogen.merging.vocabulary import VocabularyConfig, plan_vocabulary

START, END = special("<|im_start|>"), special("<|im_end|>")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def embedding(checkpoint: Any) -> torch.Tensor:
    return checkpoint.read(EMBEDDING, torch.float64)


class TestPadding:
    """Rows that no token has, and tokens that have no row."""

    def test_rows_beyond_the_tokenizer_stay(self, model: Any, rows_of: Any) -> None:
        """Qwen has 152,064 rows for 151,665 tokens (mergekit #425): none is cut off, in any of the models."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(), rows=310)]
        a, b = map(embedding, models)
        for source in ("union", "base"):
            assert torch.equal(rows_of(models, VocabularyConfig(source), 0, base=0), a)
            new = rows_of(models, VocabularyConfig(source), 1, base=0)
            assert torch.equal(new, torch.cat([b, a[310:]]))

    def test_new_tokens_take_padded_rows(self, model: Any, rows_of: Any) -> None:
        """The size stays; the first new id is the one behind the last token, as transformers gives it."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(added=[START, END]))]
        a, b = map(embedding, models)
        new = rows_of(models, VocabularyConfig(), 0, base=0)
        assert torch.equal(new, torch.cat([a[:300], b[300:], a[302:]]))
        assert torch.equal(rows_of(models, VocabularyConfig(), 1, base=0), torch.cat([b, a[302:]]))

    def test_a_row_of_a_token_is_no_padding(self, model: Any, rows_of: Any) -> None:
        """Where the composite has padding and a model a token, that model takes the padding of the other."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(added=[START, END]), rows=310)]
        a, b = map(embedding, models)
        new = rows_of(models, VocabularyConfig("base"), 1, base=0)
        assert torch.equal(new, torch.cat([b[:300], a[300:302], b[302:], a[310:]]))

    def test_of_the_shorter_one(self, model: Any, rows_of: Any) -> None:
        """A chosen tokenizer brings its model's rows: the other one's padding is of no use."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(added=[START]))]
        assert rows_of(models, VocabularyConfig(1), 0, base=0).shape == (301, 32)

    def test_rounded_up(self, model: Any, rows_of: Any) -> None:
        """New rows are the mean of each model's tokens, padding not counted."""
        models = [model("a", bytewise(), rows=310), model("b", bytewise(added=[START]))]
        a, b = map(embedding, models)
        choice = VocabularyConfig(pad_to_multiple_of=64)
        new, other = (rows_of(models, choice, i, base=0) for i in (0, 1))
        assert new.shape == other.shape == (320, 32)
        torch.testing.assert_close(new[310:], a[:300].mean(dim=0).expand(10, -1), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(other[310:], b.mean(dim=0).expand(10, -1), rtol=1e-12, atol=1e-14)
        assert torch.equal(new[301:310], a[301:])
        assert torch.equal(other[301:310], a[301:])

    def test_a_multiple_already(self, model: Any, rows_of: Any) -> None:
        """Nothing is added."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise())]
        choice = VocabularyConfig(pad_to_multiple_of=64)
        assert torch.equal(rows_of(models, choice, 0, base=0), embedding(models[0]))

    def test_a_tokenizer_longer_than_the_embedding(self, model: Any, rows_of: Any) -> None:
        """The base's ids all get a row: another model's, or the mean (mergekit #342 stops with a KeyError)."""
        models = [model("a", bytewise(added=[START, "[A]"]), rows=300), model("b", bytewise(added=[START]))]
        a, b = map(embedding, models)
        new = rows_of(models, VocabularyConfig(), 0, base=0)
        assert new.shape == (302, 32)
        assert torch.equal(new[:301], torch.cat([a, b[300:]]))
        torch.testing.assert_close(new[301], a.mean(dim=0), rtol=1e-12, atol=1e-14)
        with OpenFiles() as files:
            vocabulary = plan_vocabulary(models, VocabularyConfig(), files, 0)
        assert vocabulary.notes == ("1 token without an embedding in any model, now the mean of each: '[A]'",)

    def test_tokens_without_a_row_are_not_carried_over(self, model: Any, rows_of: Any) -> None:
        """Of the other models a union takes only what they have embeddings for."""
        models = [model("a", bytewise()), model("b", bytewise(added=[START, "[B]"]), rows=301)]
        new = rows_of(models, VocabularyConfig(), 0, base=0)
        assert torch.equal(new, torch.cat([embedding(models[0]), embedding(models[1])[300:]]))


class TestWithoutTokenizer:
    """Folders that hold weights alone."""

    def test_it_is_taken_to_be_the_bases(self, model: Any, rows_of: Any) -> None:
        """If it has as many rows."""
        models = [model("a", bytewise()), model("b", rows=300)]
        assert torch.equal(rows_of(models, VocabularyConfig(), 1), embedding(models[1]))

    def test_other_rows_are_refused(self, model: Any, rows_of: Any) -> None:
        """Nobody knows what they stand for."""
        models = [model("a", bytewise()), model("b", rows=301)]
        with pytest.raises(CompatibilityError, match="b has no tokenizer"):
            rows_of(models, VocabularyConfig(), 1)

    def test_nobody_has_one(self, model: Any, rows_of: Any) -> None:
        """Then there is nothing to unite."""
        models = [model("a", rows=300), model("b", rows=300)]
        with pytest.raises(CompatibilityError, match="a has no tokenizer"):
            rows_of(models, VocabularyConfig(), 1)
