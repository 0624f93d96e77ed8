"""The output head and its bias: stored, shared with the embedding, or both in one composite."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tokenizers import bytewise, special

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.model import open_folder
from cogen.errors import CompatibilityError
from cogen.merging.vocabulary import VocabularyConfig, plan_vocabulary

START, END = special("<|im_start|>"), special("<|im_end|>")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def embedding(checkpoint: Any) -> torch.Tensor:
    return checkpoint.read(EMBEDDING, torch.float64)


class TestHeads:
    """The output head has the embedding's rows, wherever it is stored."""

    def test_each_tensor_from_its_like(self, model: Any, rows_of: Any) -> None:
        """A head's row from a head; from the embedding where it is the head as well."""
        models = [model("a", bytewise(), tied=False), model("b", bytewise(added=[START]), tied=True)]
        new = rows_of(models, VocabularyConfig(), 0, HEAD)
        assert torch.equal(new, torch.cat([models[0].read(HEAD, torch.float64), embedding(models[1])[300:]]))
        assert torch.equal(rows_of(models, VocabularyConfig(), 1, HEAD), embedding(models[1]))

    def test_names(self, model: Any) -> None:
        """The composite has a head as soon as one model that is merged has its own."""
        models = [model("a", bytewise()), model("b", bytewise()), model("c", bytewise(), tied=False)]
        with OpenFiles() as files:
            tied = plan_vocabulary(models, VocabularyConfig(), files, merged=(0, 1))
            mixed = plan_vocabulary(models, VocabularyConfig(), files)
        assert tied.names == (EMBEDDING,)
        assert tied.config_changes == {}
        assert mixed.names == (HEAD, EMBEDDING)
        assert mixed.config_changes == {"tie_word_embeddings": False}
        assert mixed.is_vocabulary_tensor(0, HEAD)
        assert mixed.stored_name(0, HEAD) == EMBEDDING
        assert mixed.stored_name(2, HEAD) == HEAD
        assert not mixed.is_vocabulary_tensor(0, "model.norm.weight")

    def test_omp_of_a_head_is_its_own(self, model: Any, rows_of: Any) -> None:
        """The donor's head is not its embedding: other coefficients."""
        models = [model("a", bytewise(), tied=False), model("b", bytewise(added=[START]), tied=False)]
        choice = VocabularyConfig(transplant="omp", sparsity=1)
        for name in (EMBEDDING, HEAD):
            own, donor = (checkpoint.read(name, torch.float64) for checkpoint in models)
            shared, row = donor[:300], donor[300]
            best = int(((shared @ row).abs() / shared.norm(dim=1)).argmax())
            wanted = own[best] * (shared[best] @ row / shared[best].norm() ** 2)
            torch.testing.assert_close(rows_of(models, choice, 0, name)[300], wanted)

    def test_a_bias_follows_its_head(self, model: Any, rows_of: Any) -> None:
        """Copied, averaged, and with the head's coefficients where those are made."""
        models = []
        for i, tokenizer in enumerate((bytewise(), bytewise(added=[START]))):
            folder = model(f"m{i}", tokenizer, tied=False).folder
            tensors = load_file(folder / "model.safetensors")
            bias = torch.randn(300 + i, generator=torch.Generator().manual_seed(i))
            save_file(tensors | {"lm_head.bias": bias}, folder / "model.safetensors")
            models.append(open_folder(folder))
        a, b = (checkpoint.read("lm_head.bias", torch.float64) for checkpoint in models)
        assert torch.equal(rows_of(models, VocabularyConfig(), 0, "lm_head.bias"), torch.cat([a, b[300:]]))
        own, donor = (checkpoint.read(HEAD, torch.float64) for checkpoint in models)
        shared, row = donor[:300], donor[300]
        best = int(((shared @ row).abs() / shared.norm(dim=1)).argmax())
        found = rows_of(models, VocabularyConfig(transplant="omp", sparsity=1), 0, "lm_head.bias")
        torch.testing.assert_close(found[300], a[best] * (shared[best] @ row / shared[best].norm() ** 2))
        assert own.shape == (300, 32)

    def test_a_bias_that_one_model_lacks(self, model: Any) -> None:
        """Those are two architectures."""
        folder = model("a", bytewise(), tied=False).folder
        tensors = load_file(folder / "model.safetensors") | {"lm_head.bias": torch.zeros(300)}
        save_file(tensors, folder / "model.safetensors")
        models = [open_folder(folder), model("b", bytewise(), tied=False)]
        with OpenFiles() as files:
            vocabulary = plan_vocabulary(models, VocabularyConfig(), files)
            with pytest.raises(CompatibilityError, match=r"b lacks the vocabulary tensor lm_head\.bias"):
                vocabulary.stored_name(1, "lm_head.bias")
