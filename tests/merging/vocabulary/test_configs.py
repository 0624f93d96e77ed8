"""Configurations that agree with the tensors and the tokenizer; templates that are kept or set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tokenizers import bytewise, special

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.errors import SourceError, UsageError
from cogen.merging.vocabulary import (
    VocabularyConfig,
    apply_changes,
    chat_template,
    most_common_template,
    plan_vocabulary,
    set_chat_template,
)
from cogen.merging.vocabulary.configs import id_changes, size_changes, untied_changes
from cogen.merging.vocabulary.tensors import Layout

ROWS = Layout(100, ("e",), ())


def put(folder: Path, name: str, **values: Any) -> None:
    """Some keys of a JSON file."""
    path = folder / name
    own = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(own | values))


class TestSizes:
    """``vocab_size``."""

    @pytest.mark.parametrize(
        ("config", "changes"),
        [
            ({"vocab_size": 100}, {"vocab_size": 128}),
            ({"text_config": {"vocab_size": 100}}, {"text_config": {"vocab_size": 128}}),
            (
                {"vocab_size": 100, "text_config": {"vocab_size": 100}, "q": {"vocab_size": 30}},
                {"vocab_size": 128, "text_config": {"vocab_size": 128}},
            ),
            ({"a": {"text_config": {"vocab_size": 100}}}, {"a": {"text_config": {"vocab_size": 128}}}),
            ({"vocab_size": 98, "q": {"vocab_size": 30}}, {"vocab_size": 128}),
            ({}, {"vocab_size": 128}),
            ({"vocab_size": 128}, {}),
        ],
    )
    def test_wherever_it_stands(self, config: Any, changes: Any) -> None:
        """At the top, nested, at several places; a wrong or missing one is corrected; others stay."""
        assert size_changes(config, ROWS, 128) == changes

    def test_unchanged(self) -> None:
        """The same size is no change; one that disagreed with the embedding is."""
        assert size_changes({"vocab_size": 100}, ROWS, 100) == {}
        assert size_changes({"vocab_size": 98}, ROWS, 100) == {"vocab_size": 100}
        assert size_changes({}, ROWS, 100) == {}


def test_untied_everywhere() -> None:
    """At the top always, since an architecture's default may be tied; nested where it is on."""
    assert untied_changes({}) == {"tie_word_embeddings": False}
    assert untied_changes({"tie_word_embeddings": False}) == {}
    nested = {"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": True}, "vision_config": {"x": 1}}
    assert untied_changes(nested) == {"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": False}}


def test_changes_are_put_over() -> None:
    """Nested ones too; the original stays as it was."""
    config = {"a": 1, "b": {"c": 2, "d": 3}}
    assert apply_changes(config, {"a": 5, "b": {"c": 7}, "e": None}) == {"a": 5, "b": {"c": 7, "d": 3}, "e": None}
    assert config == {"a": 1, "b": {"c": 2, "d": 3}}


def test_ids_that_move() -> None:
    """What the tokenizer's model says of a key; else the same token elsewhere; else nothing."""
    config = {
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "pad_token_id": None,
        "image_token_index": 4,
        "hidden_size": 2,
        "text_config": {"eos_token_id": 3, "decoder_start_token_id": 9},
        "suppress_tokens": [1, 9],
        "bad_words_ids": [[1, 2], [3]],
    }
    theirs = {
        "bos_token_id": 50,
        "pad_token_id": 51,
        "hidden_size": 3,
        "begin_suppress_tokens": [7],
        "mask_token_id": None,
    }
    move = {1: 10, 2: 20, 3: 30}.get
    assert id_changes(config, theirs, move) == {
        "bos_token_id": 50,
        "eos_token_id": [20, 30],
        "pad_token_id": 51,
        "image_token_index": None,
        "text_config": {"eos_token_id": 30, "decoder_start_token_id": None},
        "suppress_tokens": [10],
        "bad_words_ids": [[10, 20], [30]],
        "begin_suppress_tokens": [7],
    }
    assert id_changes(config, {}, lambda id: id) == {}


class TestOfTwoModels:
    """Planned from folders."""

    @pytest.fixture
    def pair(self, model: Any) -> list[Any]:
        """The base ends with token 0; the other has <|im_end|> as its end and other ids."""
        other = bytewise(["solver", "matrix"], size=262, added=[special("<|im_start|>"), special("<|im_end|>")])
        models = [model("a", bytewise()), model("b", other)]
        end = other.get_vocab()["<|im_end|>"]
        put(models[0].folder, "generation_config.json", eos_token_id=[0], pad_token_id=5, temperature=0.5)
        put(models[1].folder, "config.json", eos_token_id=end)
        put(models[1].folder, "generation_config.json", eos_token_id=[end, 0])
        return [open_folder(checkpoint.folder) for checkpoint in models]

    def test_the_bases_tokenizer_changes_no_id(self, pair: list[Any]) -> None:
        """Union or base: only the size may change."""
        with OpenFiles() as files:
            union = plan_vocabulary(pair, VocabularyConfig(), files, 0)
            base = plan_vocabulary(pair, VocabularyConfig("base"), files, 0)
        assert (base.config_changes, base.generation_changes) == ({}, {})
        assert (union.config_changes, union.generation_changes) == ({"vocab_size": union.size}, {})
        assert union.size > 302

    def test_another_tokenizer_brings_its_ids(self, pair: list[Any]) -> None:
        """For training and for generation; a token that the other calls differently is looked up by name."""
        with OpenFiles() as files:
            found = plan_vocabulary(pair, VocabularyConfig(1), files, 0)
        end = load_tokenizer(pair[1].folder).get_vocab()["<|im_end|>"]
        five = load_tokenizer(pair[0].folder).convert_ids_to_tokens(5)
        assert found.config_changes == {"vocab_size": found.size, "eos_token_id": end}
        assert found.generation_changes["eos_token_id"] == [end, 0]
        moved = apply_changes({"pad_token_id": 5}, found.generation_changes)["pad_token_id"]
        assert moved is None or load_tokenizer(pair[1].folder).convert_ids_to_tokens(moved) == five
        assert "temperature" not in found.generation_changes


class TestTemplates:
    """Chat templates."""

    def test_where_it_may_stand(self, tmp_path: Path) -> None:
        """transformers' order: a file of its own, the settings, the older file; of several the default."""
        assert chat_template(tmp_path) is None
        (tmp_path / "chat_template.json").write_text('{"chat_template": "old"}')
        assert chat_template(tmp_path) == "old"
        both = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
        put(tmp_path, "tokenizer_config.json", chat_template=both)
        assert chat_template(tmp_path) == "d"
        put(tmp_path, "tokenizer_config.json", chat_template="plain")
        assert chat_template(tmp_path) == "plain"
        (tmp_path / "chat_template.jinja").write_text("file")
        assert chat_template(tmp_path) == "file"

    def test_the_usual_one(self, model: Any) -> None:
        """Of those that have one; of equals the first."""
        models = [model(name, bytewise()) for name in "abcd"]
        assert most_common_template(models) is None
        for checkpoint, template in zip(models[1:], ["x", "y", "y"], strict=True):
            (checkpoint.folder / "chat_template.jinja").write_text(template)
        assert most_common_template(models) == "y"
        assert most_common_template(models[:3]) == "x"

    def test_set(self, tmp_path: Path) -> None:
        """Only the new one is left, and transformers uses it."""
        bytewise().save_pretrained(tmp_path)
        put(tmp_path, "tokenizer_config.json", chat_template="settings")
        (tmp_path / "chat_template.json").write_text('{"chat_template": "old"}')
        template = "{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
        set_chat_template(tmp_path, template)
        assert chat_template(tmp_path) == template
        assert "settings" not in (tmp_path / "tokenizer_config.json").read_text()
        assert not (tmp_path / "chat_template.json").exists()
        found = load_tokenizer(tmp_path).apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
        assert found == "<user>x"

    def test_no_template(self, tmp_path: Path) -> None:
        """A broken one is refused, and a broken file is named."""
        with pytest.raises(UsageError, match="invalid Jinja"):
            set_chat_template(tmp_path, "{% for %}")
        (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SourceError, match=r"damaged chat_template\.jinja"):
            chat_template(tmp_path)
