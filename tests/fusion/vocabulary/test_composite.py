"""Composites of models with different vocabularies, as transformers loads and runs them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.tokenizers import OTHER_WORDS, bytewise, pieces, special

from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.fusion.vocabulary import TokenWish, VocabularyWish, set_chat_template

START, END = special("<|im_start|>"), special("<|im_end|>")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    model = load_model(open_folder(folder), "float32")
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double()


def agrees(folder: Path) -> int:
    """The number of rows of a composite whose tensors, configurations and tokenizer have to agree."""
    checkpoint, tokenizer = open_folder(folder), load_tokenizer(folder)
    size = int(checkpoint.config["vocab_size"])
    for name in (EMBEDDING, HEAD):
        if name in checkpoint.tensors:
            assert checkpoint.tensors[name].shape[0] == size
    assert max(tokenizer.get_vocab().values()) < size
    assert (HEAD in checkpoint.tensors) is (checkpoint.config["tie_word_embeddings"] is False)
    return size


def average(folders: list[Path], rows: list[list[int]]) -> Any:
    """The mean model by hand: each model's rows (of its embedding and head) in the order of the composite."""
    loaded = [load_model(open_folder(folder), "float64") for folder in folders]
    result = copy.deepcopy(loaded[0])
    result.resize_token_embeddings(len(rows[0]), mean_resizing=False)
    mean = dict(result.named_parameters())
    with torch.no_grad():
        for name, parameter in mean.items():
            parts = []
            for model, order in zip(loaded, rows, strict=True):
                tensor = dict(model.named_parameters(remove_duplicate=False))[name]
                parts.append(tensor[order] if tensor.shape[0] == model.config.vocab_size else tensor)
            parameter.copy_(torch.stack(parts).mean(dim=0))
    return result


class TestUnion:
    """Every token of every model."""

    @pytest.mark.parametrize("tied", [True, False])
    def test_rows_and_logits(self, tied: bool, model: Any, compose: Any) -> None:
        """Shared tokens are averages, own ones follow the rule, and the model computes what one made by hand does."""
        first, second = bytewise(added=["[A]"]), bytewise(OTHER_WORDS, size=290, added=[START, END])
        models = [model("a", first, tied=tied), model("b", second, tied=tied)]
        folder = compose(models, VocabularyWish(), base=0)
        found, tokenizer = load_file(folder / "model.safetensors"), load_tokenizer(folder)
        names, theirs, ours = tokenizer.get_vocab(), second.get_vocab(), first.get_vocab()
        assert agrees(folder) == len(names) == len(ours.keys() | theirs.keys())
        for name in (EMBEDDING,) if tied else (EMBEDDING, HEAD):
            a, b = (checkpoint.read(name, torch.float64) for checkpoint in models)
            for token, id in names.items():
                own = a[ours[token]] if token in ours else b[theirs[token]]
                other = b[theirs[token]] if token in theirs else a[ours[token]]
                assert torch.equal(found[name][id], ((own + other) / 2).float()), token
        order = sorted(names, key=names.get)
        both = [[of.get(t, -1) for t in order] for of in (ours, theirs)]
        shared = [i for i in range(len(order)) if both[0][i] >= 0 and both[1][i] >= 0]
        assert len(shared) > 256
        by_hand = average([c.folder for c in models], [[ids[i] for i in shared] for ids in both])
        with torch.no_grad():
            wanted = by_hand(input_ids=torch.arange(0, len(shared), 11)[None]).logits[0].double()
        got = logits(folder, [shared[i] for i in range(0, len(shared), 11)])[:, shared]
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)

    def test_equal_models_stay_equal(self, model: Any, compose: Any) -> None:
        """A model and itself with more tokens: its own rows bit for bit, the same logits for its own texts."""
        one = model("a", bytewise(), dtype="bfloat16")
        folder = one.folder.parent / "b"
        bigger = load_model(one, "bfloat16")
        bigger.resize_token_embeddings(302, mean_resizing=False)
        bigger.save_pretrained(folder)
        bytewise(added=[START, END]).save_pretrained(folder)
        two = open_folder(folder)
        out = compose([one, two], VocabularyWish(), base=0, weights=[0.3, 0.7])
        found, wanted = load_file(out / "model.safetensors"), load_file(folder / "model.safetensors")
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.equal(found[name].view(torch.int16), tensor.view(torch.int16))
        assert agrees(out) == 302

    def test_of_three_with_templates(self, model: Any, compose: Any) -> None:
        """Ids in the order of the models; the base's chat template stays, unless another is set."""
        models = [
            model("a", bytewise(added=["[A]"])),
            model("b", bytewise(added=[START, END])),
            model("c", bytewise(added=[END, "[C]"])),
        ]
        for checkpoint in models:
            (checkpoint.folder / "chat_template.jinja").write_text(f"{checkpoint.folder.name}{{{{ messages }}}}")
        folder = compose(models, VocabularyWish(), base=1)
        tokenizer = load_tokenizer(folder)
        assert tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "[A]", "[C]"]) == [300, 301, 302, 303]
        assert tokenizer.chat_template == "b{{ messages }}"
        a, b, c = (checkpoint.read(EMBEDDING, torch.float64) for checkpoint in models)
        found = load_file(folder / "model.safetensors")[EMBEDDING]
        wanted = [b[300], (2 * b[301] + c[300]) / 3, a[300], c[301]]
        torch.testing.assert_close(found[300:], torch.stack(wanted).float(), rtol=1e-6, atol=1e-7)
        set_chat_template(folder, "{{ messages[0].content }}")
        assert load_tokenizer(folder).apply_chat_template([{"role": "user", "content": "z"}], tokenize=False) == "z"

    def test_generates_and_ends(self, model: Any, compose: Any) -> None:
        """The composite runs in transformers' generation with its own tokenizer."""
        models = [model("a", bytewise()), model("b", bytewise(added=[START, END]))]
        folder = compose(models, VocabularyWish(pad_to_multiple_of=64), base=0)
        assert agrees(folder) == 320
        tokenizer, loaded = load_tokenizer(folder), load_model(open_folder(folder), "float32")
        ids = tokenizer("<|im_start|>the grid", return_tensors="pt").input_ids
        made = loaded.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
        assert made.shape[1] <= ids.shape[1] + 5
        assert made[0, 0] == 300

    def test_across_alphabets(self, model: Any, compose: Any) -> None:
        """GPT-2's and SentencePiece's tokens with one text are one token, averaged."""
        first, second = pieces("bpe", OTHER_WORDS), bytewise(OTHER_WORDS, size=330)
        models = [model("a", first), model("b", second)]
        folder = compose(models, VocabularyWish(), base=0)
        names = load_tokenizer(folder).get_vocab()
        assert "▁network" in names
        assert "Ġnetwork" not in names
        a, b = (checkpoint.read(EMBEDDING, torch.float64) for checkpoint in models)
        wanted = (a[first.get_vocab()["▁network"]] + b[second.get_vocab()["Ġnetwork"]]) / 2
        assert torch.equal(load_file(folder / "model.safetensors")[EMBEDDING][names["▁network"]], wanted.float())


class TestTied:
    """Tied and untied models together."""

    @pytest.mark.parametrize("base", [0, 1])
    def test_mixed(self, base: int, model: Any, compose: Any) -> None:
        """The composite has a head: the mean of the one and the other's embedding; its configuration says so."""
        models = [model("tied", bytewise()), model("untied", bytewise(added=[START]), tied=False)]
        folder = compose(models, VocabularyWish(), base=base)
        assert agrees(folder) == 301
        found = load_file(folder / "model.safetensors")
        tied, untied = models[0].read(EMBEDDING, torch.float64), models[1].read(HEAD, torch.float64)
        assert torch.equal(found[HEAD][:300], ((tied + untied[:300]) / 2).float())
        assert torch.equal(found[HEAD][300], untied[300].float())
        loaded = load_model(open_folder(folder), "float32")
        assert torch.equal(loaded.get_output_embeddings().weight, found[HEAD])
        assert torch.equal(loaded.get_input_embeddings().weight, found[EMBEDDING])
        assert not torch.equal(found[HEAD], found[EMBEDDING])

    def test_all_tied(self, model: Any, compose: Any) -> None:
        """Then there is one tensor, also for the output."""
        folder = compose([model("a", bytewise()), model("b", bytewise(added=[START]))], VocabularyWish())
        assert agrees(folder) == 301
        loaded = load_model(open_folder(folder), "float32")
        assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


class TestSizes:
    """Padded and over-long vocabularies."""

    def test_padding_is_kept(self, model: Any, compose: Any) -> None:
        """152,064 rows stay 152,064, and a tokenizer that needs no change is copied byte for byte."""
        models = [model("a", bytewise(), rows=320), model("b", bytewise(), rows=320)]
        folder = compose(models, VocabularyWish(), base=0)
        assert agrees(folder) == 320
        a, b = (checkpoint.read(EMBEDDING, torch.float64) for checkpoint in models)
        assert torch.equal(load_file(folder / "model.safetensors")[EMBEDDING], ((a + b) / 2).float())
        own = models[0].folder
        assert (folder / "tokenizer.json").read_bytes() == (own / "tokenizer.json").read_bytes()

    def test_a_tokenizer_longer_than_the_embedding(self, model: Any, compose: Any) -> None:
        """All of its ids can be given to the model."""
        models = [model("a", bytewise(added=[START, "[A]"]), rows=300), model("b", bytewise(added=[START]))]
        folder = compose(models, VocabularyWish(), base=0)
        assert agrees(folder) == 302
        assert logits(folder, load_tokenizer(folder)("the[A]<|im_start|>").input_ids).shape == (3, 302)

    def test_an_embedding_that_disagrees_with_its_configuration(self, model: Any, compose: Any) -> None:
        """The composite's configuration has the rows that there are."""
        folder = model("a", bytewise(), rows=320).folder
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
        out = compose([open_folder(folder), model("b", bytewise())], VocabularyWish(), base=0)
        assert agrees(out) == 320

    def test_a_hidden_size_like_the_vocabulary(self, model: Any, compose: Any) -> None:
        """Square matrices of the layers are not taken for embeddings."""
        many = {"hidden_size": 304, "intermediate_size": 304}
        models = [model("a", bytewise(), rows=304, **many), model("b", bytewise(added=[START]), rows=304, **many)]
        folder = compose(models, VocabularyWish(pad_to_multiple_of=32), base=0)
        assert agrees(folder) == 320
        name = "model.layers.0.self_attn.q_proj.weight"
        a, b = (checkpoint.read(name, torch.float64) for checkpoint in models)
        assert torch.equal(load_file(folder / "model.safetensors")[name], ((a + b) / 2).float())


class TestOthersTokenizer:
    """The vocabulary of a model that isn't the base."""

    def test_special_tokens_follow(self, model: Any, compose: Any) -> None:
        """The composite ends where its tokenizer's model ends."""
        other = bytewise(OTHER_WORDS, size=290, added=[START, END])
        models = [model("a", bytewise()), model("b", other, eos_token_id=291)]
        folder = compose(models, VocabularyWish(1), base=0)
        assert agrees(folder) == 292
        assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 291
        assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 291
        assert load_tokenizer(folder).get_vocab() == other.get_vocab()

    @pytest.mark.parametrize("transplant", ["mean", "subword", "omp"])
    def test_transplants_run(self, transplant: Any, model: Any, compose: Any) -> None:
        """Through the engine with several threads; the own tensors of the tokenizer's model stay."""
        models = [model("a", bytewise(), tied=False), model("b", bytewise(OTHER_WORDS, size=310), tied=False)]
        wish = VocabularyWish(1, transplant=transplant, sparsity=4, tokens={"the": TokenWish("zero", force=True)})
        folder = compose(models, wish, base=0, weights=[0.0, 1.0])
        found = load_file(folder / "model.safetensors")
        for name in (EMBEDDING, HEAD):
            wanted = models[1].read(name).clone()
            the = load_tokenizer(folder).get_vocab()["the"]
            wanted[the] = 0
            assert torch.equal(found[name], wanted)
        assert agrees(folder) == len(bytewise(OTHER_WORDS, size=310))


def test_a_text_model_inside_another(compose: Any, tmp_path: Path) -> None:
    """LLaVA: sizes nested in ``text_config``, names with other prefixes, a vision tower with matrices of its own."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    checkpoints = []
    for seed, tokenizer in enumerate((bytewise(), bytewise(added=[START, END]))):
        torch.manual_seed(seed)
        text = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, initializer_range=0.3,
        )  # fmt: skip
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        )
        config = LlavaConfig(vision, text, image_token_index=7, tie_word_embeddings=False)
        LlavaForConditionalGeneration(config).save_pretrained(tmp_path / f"{seed}")
        tokenizer.save_pretrained(tmp_path / f"{seed}")
        checkpoints.append(open_folder(tmp_path / f"{seed}"))
    folder = compose(checkpoints, VocabularyWish(), base=0)
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"]["vocab_size"] == 302
    assert "vocab_size" not in config
    loaded, told = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["mismatched_keys"]
    a, b = (load_file(checkpoint.folder / "model.safetensors") for checkpoint in checkpoints)
    name = next(name for name in a if name.endswith("embed_tokens.weight"))
    wanted = torch.cat([(a[name].double() + b[name][:300]) / 2, b[name][300:].double()])
    assert torch.equal(loaded.get_input_embeddings().weight, wanted.float())
    with torch.no_grad():
        assert loaded(input_ids=torch.tensor([[1, 300, 301]])).logits.shape == (1, 3, 302)
