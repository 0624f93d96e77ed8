"""The tokens that are read from files are those that transformers gives to a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokenizers import OTHER_WORDS, bytewise, pieces, special, wordpieces

from cogen.checkpoints.load import load_tokenizer
from cogen.errors import SourceError
from cogen.merging.vocabulary.alphabet import byte_characters, token_bytes, token_text
from cogen.merging.vocabulary.tokens import has_tokenizer, read_tokens

KINDS = {
    "bytes": lambda: bytewise(added=[special("<|im_start|>"), "[TOOL]"]),
    "space": lambda: pieces("bpe", OTHER_WORDS),
    "unigram": lambda: pieces("unigram", OTHER_WORDS),
    "words": lambda: wordpieces(OTHER_WORDS),
}


def saved(folder: Path, tokenizer: Any) -> Path:
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """For every kind of tokenizer model, added tokens included, with their flags."""
    folder = saved(tmp_path, KINDS[kind]())
    found, judge = read_tokens(folder), load_tokenizer(folder)
    assert found.ids == judge.get_vocab()
    assert found.added.keys() == judge.get_added_vocab().keys()
    assert {t: f["special"] for t, f in found.added.items()} == {
        str(t): t.special for t in judge.added_tokens_decoder.values()
    }
    assert found.alphabet == {"bytes": "bytes", "space": "space", "unigram": "space", "words": "text"}[kind]


def test_tokens_of_the_settings_alone_count(tmp_path: Path) -> None:
    """A token that only tokenizer_config.json declares: transformers adds it when it loads."""
    folder = saved(tmp_path, bytewise())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    settings["added_tokens_decoder"] = {
        "0": {"content": "<|endoftext|>", **flags},
        "300": {"content": "<|x|>", **flags},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    found = read_tokens(folder)
    assert found.ids == load_tokenizer(folder).get_vocab()
    assert found.ids["<|x|>"] == 300
    assert found.added["<|x|>"]["special"]


def test_older_files_are_read_through_transformers(tmp_path: Path) -> None:
    """vocab.json and merges.txt without a tokenizer.json."""
    backend = json.loads(bytewise().backend_tokenizer.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(backend["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(pair) for pair in backend["merges"]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert has_tokenizer(tmp_path)
    assert read_tokens(tmp_path).ids == backend["vocab"]


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    """Settings alone are none."""
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert not has_tokenizer(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": {}}', '{"model": {"vocab": {"a": "x"}}}'])
def test_damage_is_told(text: str, tmp_path: Path) -> None:
    """As an error that names the folder, not as one of Python's."""
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(SourceError, match=f"the tokenizer of {tmp_path.name} is damaged"):
        read_tokens(tmp_path)


def test_byte_characters_are_those_of_transformers() -> None:
    """GPT-2's table."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    assert {character: byte for byte, character in bytes_to_unicode().items()} == byte_characters()


@given(data=st.binary(max_size=12))
def test_bytes_are_spelled_as_written(data: bytes) -> None:
    """Any bytes in GPT-2's alphabet."""
    name = token_text(data, "bytes")
    assert name is not None
    assert token_bytes(name, "bytes") == data


@given(text=st.text(st.characters(exclude_characters="▁", exclude_categories=["Cs"]), max_size=12))
def test_text_is_spelled_as_written(text: str) -> None:
    """Any text in SentencePiece's alphabet, spaces too."""
    name = token_text(text.encode(), "space")
    assert name is not None
    assert "\u0020" not in name
    if not name.startswith("<0x"):
        assert token_bytes(name, "space") == text.encode()


def test_bytes_of_sentencepiece() -> None:
    """A byte that is no character is that byte; one that is a character stays apart from that character."""
    assert token_bytes("<0xE9>", "space") == b"\xe9"
    assert token_bytes("<0x41>", "space") == b"<0x41>"
    assert token_text(b"\xe9", "space") is None


def test_one_token_in_two_alphabets(tmp_path: Path) -> None:
    """``Ġnetwork`` and ``▁network`` are the same text; an added token is only found by its name."""
    judge = bytewise(OTHER_WORDS, size=320, added=[special("</s>")])
    ours = read_tokens(saved(tmp_path / "a", judge))
    theirs = read_tokens(saved(tmp_path / "b", pieces("bpe", OTHER_WORDS)))
    common = [token for token in ours.ids if token.startswith("Ġ") and theirs.find(token, ours) is not None]
    assert len(common) >= 3
    for token in common:
        assert theirs.by_id[theirs.find(token, ours) or 0] == judge.decode([ours.ids[token]]).replace(" ", "▁")
    assert theirs.find("</s>", ours) == theirs.ids["</s>"]
    assert ours.find("<s>", theirs) is None
