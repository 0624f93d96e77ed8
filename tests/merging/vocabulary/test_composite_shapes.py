"""Composites of models whose vocabulary tensors differ in shape or number, as transformers loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.tokenizers import bytewise, special

from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.merging.vocabulary import VocabularyConfig

START, END = special("<|im_start|>"), special("<|im_end|>")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    model = load_model(open_folder(folder), "float32")
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double()


class TestTied:
    """Tied and untied models together."""

    @pytest.mark.parametrize("base", [0, 1])
    def test_mixed(self, base: int, model: Any, compose: Any, agrees: Any) -> None:
        """The composite has a head: the mean of the one and the other's embedding; its configuration says so."""
        models = [model("tied", bytewise()), model("untied", bytewise(added=[START]), tied=False)]
        folder = compose(models, VocabularyConfig(), base=base)
        assert agrees(folder) == 301
        found = load_file(folder / "model.safetensors")
        tied, untied = models[0].read(EMBEDDING, torch.float64), models[1].read(HEAD, torch.float64)
        assert torch.equal(found[HEAD][:300], ((tied + untied[:300]) / 2).float())
        assert torch.equal(found[HEAD][300], untied[300].float())
        loaded = load_model(open_folder(folder), "float32")
        assert torch.equal(loaded.get_output_embeddings().weight, found[HEAD])
        assert torch.equal(loaded.get_input_embeddings().weight, found[EMBEDDING])
        assert not torch.equal(found[HEAD], found[EMBEDDING])

    def test_all_tied(self, model: Any, compose: Any, agrees: Any) -> None:
        """Then there is one tensor, also for the output."""
        folder = compose([model("a", bytewise()), model("b", bytewise(added=[START]))], VocabularyConfig())
        assert agrees(folder) == 301
        loaded = load_model(open_folder(folder), "float32")
        assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


class TestSizes:
    """Padded and over-long vocabularies."""

    def test_padding_is_kept(self, model: Any, compose: Any, agrees: Any) -> None:
        """152,064 rows stay 152,064, and a tokenizer that needs no change is copied byte for byte."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(), rows=320)]
        folder = compose(models, VocabularyConfig(), base=0)
        assert agrees(folder) == 320
        a, b = (checkpoint.read(EMBEDDING, torch.float64) for checkpoint in models)
        assert torch.equal(load_file(folder / "model.safetensors")[EMBEDDING], ((a + b) / 2).float())
        own = models[0].folder
        assert (folder / "tokenizer.json").read_bytes() == (own / "tokenizer.json").read_bytes()

    def test_a_tokenizer_longer_than_the_embedding(self, model: Any, compose: Any, agrees: Any) -> None:
        """All of its ids can be given to the model."""
        models = [model("a", bytewise(added=[START, "[A]"]), rows=300), model("b", bytewise(added=[START]))]
        folder = compose(models, VocabularyConfig(), base=0)
        assert agrees(folder) == 302
        assert logits(folder, load_tokenizer(folder)("the[A]<|im_start|>").input_ids).shape == (3, 302)

    def test_an_embedding_that_disagrees_with_its_configuration(self, model: Any, compose: Any, agrees: Any) -> None:
        """The composite's configuration has the rows that there are."""
        folder = model("a", bytewise(), rows=320).folder
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
        out = compose([open_folder(folder), model("b", bytewise())], VocabularyConfig(), base=0)
        assert agrees(out) == 320

    def test_a_hidden_size_like_the_vocabulary(self, model: Any, compose: Any, agrees: Any) -> None:
        """Square matrices of the layers are not taken for embeddings."""
        many = {"hidden_size": 304, "intermediate_size": 304}
        models = [model("a", bytewise(), rows=304, **many), model("b", bytewise(added=[START]), rows=304, **many)]
        folder = compose(models, VocabularyConfig(pad_to_multiple_of=32), base=0)
        assert agrees(folder) == 320
        name = "model.layers.0.self_attn.q_proj.weight"
        a, b = (checkpoint.read(name, torch.float64) for checkpoint in models)
        assert torch.equal(load_file(folder / "model.safetensors")[name], ((a + b) / 2).float())


def test_a_text_model_inside_another(compose: Any, tmp_path: Path) -> None:
    """LLaVA: sizes nested in ``text_config``, names with other prefixes, a vision tower with matrices of its own."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    checkpoints = []
    for seed, tokenizer in enumerate((bytewise(), bytewise(added=[START, END]))):
        torch.manual_seed(seed)
        text = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        )
        config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=7, tie_word_embeddings=False)
        LlavaForConditionalGeneration(config).save_pretrained(tmp_path / f"{seed}")
        tokenizer.save_pretrained(tmp_path / f"{seed}")
        checkpoints.append(open_folder(tmp_path / f"{seed}"))
    folder = compose(checkpoints, VocabularyConfig(), base=0)
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"]["vocab_size"] == 302
    assert "vocab_size" not in config
    loaded, reported = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not reported["missing_keys"]
    assert not reported["mismatched_keys"]
    a, b = (load_file(checkpoint.folder / "model.safetensors") for checkpoint in checkpoints)
    name = next(name for name in a if name.endswith("embed_tokens.weight"))
    wanted = torch.cat([(a[name].double() + b[name][:300]) / 2, b[name][300:].double()])
    assert torch.equal(loaded.get_input_embeddings().weight, wanted.float())
    with torch.no_grad():
        assert loaded(input_ids=torch.tensor([[1, 300, 301]])).logits.shape == (1, 3, 302)
