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
from cogen.merging.vocabulary import TokenSource, VocabularyConfig, set_chat_template

START, END = special("<|im_start|>"), special("<|im_end|>")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    model = load_model(open_folder(folder), "float32")
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double()


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
    def test_rows_and_logits(self, tied: bool, model: Any, compose: Any, agrees: Any) -> None:
        """Shared tokens are averages, own ones follow the rule, and the model computes what one made by hand does."""
        first, second = bytewise(added=["[A]"]), bytewise(OTHER_WORDS, size=290, added=[START, END])
        models = [model("a", first, tied=tied), model("b", second, tied=tied)]
        folder = compose(models, VocabularyConfig(), base=0)
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

    def test_equal_models_stay_equal(self, model: Any, compose: Any, agrees: Any) -> None:
        """A model and itself with more tokens: its own rows bit for bit, the same logits for its own texts."""
        one = model("a", bytewise(), dtype="bfloat16")
        folder = one.folder.parent / "b"
        bigger = load_model(one, "bfloat16")
        bigger.resize_token_embeddings(302, mean_resizing=False)
        bigger.save_pretrained(folder)
        bytewise(added=[START, END]).save_pretrained(folder)
        two = open_folder(folder)
        out = compose([one, two], VocabularyConfig(), base=0, weights=[0.3, 0.7])
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
        folder = compose(models, VocabularyConfig(), base=1)
        tokenizer = load_tokenizer(folder)
        assert tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "[A]", "[C]"]) == [300, 301, 302, 303]
        assert tokenizer.chat_template == "b{{ messages }}"
        a, b, c = (checkpoint.read(EMBEDDING, torch.float64) for checkpoint in models)
        found = load_file(folder / "model.safetensors")[EMBEDDING]
        wanted = [b[300], (2 * b[301] + c[300]) / 3, a[300], c[301]]
        torch.testing.assert_close(found[300:], torch.stack(wanted).float(), rtol=1e-6, atol=1e-7)
        set_chat_template(folder, "{{ messages[0].content }}")
        assert load_tokenizer(folder).apply_chat_template([{"role": "user", "content": "z"}], tokenize=False) == "z"

    def test_generates_and_ends(self, model: Any, compose: Any, agrees: Any) -> None:
        """The composite runs in transformers' generation with its own tokenizer."""
        models = [model("a", bytewise()), model("b", bytewise(added=[START, END]))]
        folder = compose(models, VocabularyConfig(pad_to_multiple_of=64), base=0)
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
        folder = compose(models, VocabularyConfig(), base=0)
        names = load_tokenizer(folder).get_vocab()
        assert "▁network" in names
        assert "Ġnetwork" not in names
        a, b = (checkpoint.read(EMBEDDING, torch.float64) for checkpoint in models)
        wanted = (a[first.get_vocab()["▁network"]] + b[second.get_vocab()["Ġnetwork"]]) / 2
        assert torch.equal(load_file(folder / "model.safetensors")[EMBEDDING][names["▁network"]], wanted.float())


class TestOthersTokenizer:
    """The vocabulary of a model that isn't the base."""

    def test_special_tokens_follow(self, model: Any, compose: Any, agrees: Any) -> None:
        """The composite ends where its tokenizer's model ends."""
        other = bytewise(OTHER_WORDS, size=290, added=[START, END])
        models = [model("a", bytewise()), model("b", other, eos_token_id=291)]
        folder = compose(models, VocabularyConfig(1), base=0)
        assert agrees(folder) == 292
        assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 291
        assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 291
        assert load_tokenizer(folder).get_vocab() == other.get_vocab()

    @pytest.mark.parametrize("transplant", ["mean", "subword", "omp"])
    def test_transplants_run(self, transplant: Any, model: Any, compose: Any, agrees: Any) -> None:
        """Through the engine with several threads; the own tensors of the tokenizer's model stay."""
        models = [model("a", bytewise(), tied=False), model("b", bytewise(OTHER_WORDS, size=310), tied=False)]
        choice = VocabularyConfig(
            1, transplant=transplant, sparsity=4, tokens={"Ġthe": TokenSource("zero", force=True)}
        )
        folder = compose(models, choice, base=0, weights=[0.0, 1.0])
        found = load_file(folder / "model.safetensors")
        for name in (EMBEDDING, HEAD):
            wanted = models[1].read(name).clone()
            the = load_tokenizer(folder).get_vocab()["Ġthe"]
            wanted[the] = 0
            assert torch.equal(found[name], wanted)
        assert agrees(folder) == len(bytewise(OTHER_WORDS, size=310))


@pytest.mark.parametrize("transplant", [None, "subword", "omp"])
def test_the_same_bits_with_any_number_of_threads(transplant: Any, model: Any, compose: Any) -> None:
    """Whichever thread asks first for the rows that are made."""
    models = [model("a", bytewise(), dtype="bfloat16"), model("b", bytewise(OTHER_WORDS, size=310), dtype="bfloat16")]
    choice = VocabularyConfig(transplant=transplant, sparsity=4)
    folders = [compose(models, choice, name=f"t{threads}", threads=threads) for threads in (1, 2, 4)]
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1
