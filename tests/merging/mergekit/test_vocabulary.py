"""Recipes that say something of the tokenizer or the chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.kitchen import Kitchen
from support.tiny import llama, logits, tokenizer

from cogen.merging.mergekit.templates import TEMPLATES

EMBED = "model.embed_tokens.weight"


def extended(*tokens: str) -> Any:
    """The tiny tokenizer with more special tokens."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, eos_token="<|endoftext|>")
    made = PreTrainedTokenizerFast.from_pretrained(_saved(made))
    made.add_tokens(list(tokens), special_tokens=True)
    return made


def _saved(made: Any) -> str:
    import tempfile

    folder = tempfile.mkdtemp()
    made.save_pretrained(folder)
    return folder


def save(folder: Path, seed: int, *tokens: str, template: str | None = None, **changes: Any) -> torch.Tensor:
    """A tiny Llama with a row for each token of its tokenizer; its embedding."""
    own = extended(*tokens)
    if template is not None:
        own.chat_template = template
    model = llama(seed, vocab_size=len(own), **changes)
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return model.get_input_embeddings().weight.detach().clone()


@pytest.fixture
def models(kitchen: Kitchen) -> tuple[Kitchen, torch.Tensor, torch.Tensor]:
    return kitchen, save(kitchen.folder / "a", 1, "<|a|>"), save(kitchen.folder / "b", 2, "<|b|>", "<|c|>")


HALVES = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"


def test_union(models: tuple[Kitchen, torch.Tensor, torch.Tensor]) -> None:
    """All tokens of both; shared ones averaged, the others taken from their owner; transformers loads the whole."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kitchen, a, b = models
    kitchen.merge(HALVES + "tokenizer: {source: union, pad_to_multiple_of: 16}\n")
    found, size = kitchen.tensors()[EMBED], len(tokenizer())
    ids = AutoTokenizer.from_pretrained(kitchen.folder / "out").get_vocab()
    assert len(ids) == size + 3
    assert found.shape[0] == kitchen.json("config.json")["vocab_size"] == -(-(size + 3) // 16) * 16
    assert torch.equal(found[:size], ((a[:size].double() + b[:size].double()) / 2).float())
    assert torch.equal(found[ids["<|a|>"]], a[size])
    assert torch.equal(found[ids["<|b|>"]], b[size])
    assert torch.equal(found[ids["<|c|>"]], b[size + 1])
    model = AutoModelForCausalLM.from_pretrained(kitchen.folder / "out").eval()
    assert torch.isfinite(logits(model)).all()


def test_a_model_that_only_lends_its_tokenizer_lends_no_rows_that_others_have(kitchen: Kitchen) -> None:
    """A token that a merged model has is that model's, whatever the tokenizer's model holds for it."""
    save(kitchen.folder / "a", 1)
    b = save(kitchen.folder / "b", 2, "<|x|>")
    c = save(kitchen.folder / "c", 3, "<|x|>", "<|y|>")
    kitchen.merge(HALVES + "tokenizer: {source: c}\n")
    found, size = kitchen.tensors()[EMBED], len(tokenizer())
    assert found.shape[0] == size + 2
    assert torch.equal(found[size], b[size])
    assert torch.equal(found[size + 1], c[size + 1])


def test_base_and_single_tokens(models: tuple[Kitchen, torch.Tensor, torch.Tensor]) -> None:
    """The first model's tokens; one of them forced to be another model's, one new one made of an old one, one zero."""
    kitchen, a, b = models
    kitchen.merge(
        HALVES
        + """\
tokenizer:
  source: base
  tokens:
    <|a|>: {source: {kind: model_token, model: b, token: <|c|>}, force: true}
    <|new|>: {source: {kind: model_token, model: a, token_id: 5}}
    <|zero|>: {source: {kind: zero}}
"""
    )
    from transformers import AutoTokenizer

    ids, size = AutoTokenizer.from_pretrained(kitchen.folder / "out").get_vocab(), len(tokenizer())
    found = kitchen.tensors()[EMBED]
    assert set(ids) == {*tokenizer().get_vocab(), "<|a|>", "<|new|>", "<|zero|>"}
    assert torch.equal(found[ids["<|a|>"]], b[size + 1])
    assert torch.equal(found[ids["<|new|>"]], a[5])
    assert not found[ids["<|zero|>"]].any()


def test_tokenizer_of_a_model_that_is_not_merged(models: tuple[Kitchen, torch.Tensor, torch.Tensor]) -> None:
    """It lends its tokenizer; its weights play no part in tokens that the merged models have."""
    kitchen, a, b = models
    save(kitchen.folder / "c", 3)
    kitchen.merge(HALVES + "tokenizer_source: c\n")
    from transformers import AutoTokenizer

    ids, size = AutoTokenizer.from_pretrained(kitchen.folder / "out").get_vocab(), len(tokenizer())
    found = kitchen.tensors()[EMBED]
    assert ids == tokenizer().get_vocab()
    assert torch.equal(found, ((a[:size].double() + b[:size].double()) / 2).float())
    assert [model["reference"] for model in kitchen.json("merge.json")["models"]] == ["a", "b", "c"]


class TestTemplates:
    """chat_template: of the base unless the recipe says otherwise."""

    def merged(self, kitchen: Kitchen, choice: str) -> str | None:
        from transformers import AutoTokenizer

        for seed, (name, template) in enumerate(
            (("base", "base{{ messages }}"), ("a", "most{{ messages }}"), ("b", "most{{ messages }}"), ("c", None))
        ):
            save(kitchen.folder / name, seed, template=template)
        kitchen.merge(
            "merge_method: ties\nbase_model: base\nparameters: {weight: 1}\n"
            f"models: [{{model: a}}, {{model: b}}, {{model: c}}]\n{choice}"
        )
        return AutoTokenizer.from_pretrained(kitchen.folder / "out").chat_template

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ("", "base{{ messages }}"),
            ("chat_template: auto\n", "most{{ messages }}"),
            ("chat_template: chatml\n", TEMPLATES["chatml"]),
            ("chat_template: '{{ messages }}!'\n", "{{ messages }}!"),
        ],
    )
    def test_which(self, kitchen: Kitchen, choice: str, expected: str) -> None:
        """Kept, the usual one, one by name, one written out."""
        assert self.merged(kitchen, choice) == expected

    TALK = (("system", "Be brief."), ("user", " Hi "), ("assistant", "Ho."), ("user", "Bye"))

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            (
                "alpaca",
                "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHo.\n\n### Instruction:\nBye\n\n### Response:\n",
            ),
            (
                "chatml",
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
                "<|im_start|>assistant\nHo.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "exaone",
                "[|system|]Be brief.[|endofturn|]\n[|user|] Hi \n[|assistant|]Ho.[|endofturn|]\n[|user|]Bye\n"
                "[|assistant|]",
            ),
            (
                "llama3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\nHo.<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            ("mistral", "<s> [INST] Be brief.\n\n Hi  [/INST] Ho.</s> [INST] Bye [/INST]"),
        ],
    )
    def test_templates_by_name(self, name: str, expected: str) -> None:
        """What transformers makes of a talk, against the formats' public definitions."""
        from transformers import PreTrainedTokenizerFast

        made = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer().backend_tokenizer, bos_token="<s>", eos_token="</s>"
        )
        talk = [{"role": role, "content": content} for role, content in self.TALK]
        found = made.apply_chat_template(
            talk, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=True
        )
        assert found == expected

    def test_turns_out_of_order(self) -> None:
        """The mistral format knows no two turns of one side."""
        import jinja2

        talk = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
        with pytest.raises(jinja2.TemplateError, match="mistral takes turns"):
            tokenizer().apply_chat_template(talk, chat_template=TEMPLATES["mistral"], tokenize=False)
