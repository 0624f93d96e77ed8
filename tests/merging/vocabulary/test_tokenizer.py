"""The written tokenizer: the source's ids and its way to split a text stay; what is appended has one id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tokenizers import OTHER_WORDS, TEXTS, bytewise, pieces, special, wordpieces

from cogen.checkpoints.load import load_tokenizer
from cogen.errors import CompatibilityError
from cogen.merging.vocabulary.mapping import TargetVocabulary, make_target
from cogen.merging.vocabulary.request import TokenSource, VocabularyConfig
from cogen.merging.vocabulary.tokenizer import check_extendable, copy_tokenizer, write_appended
from cogen.merging.vocabulary.tokens import read_tokens

CHAT = [special("<|im_start|>"), special("<|im_end|>")]


def union(folder: Path, *tokenizers: Any, choice: VocabularyConfig | None = None) -> tuple[Any, TargetVocabulary]:
    """Of the first and all others; loaded by transformers."""
    tokens = []
    for i, tokenizer in enumerate(tokenizers):
        tokenizer.save_pretrained(folder / f"{i}")
        tokens.append(read_tokens(folder / f"{i}"))
    rows = [max(own.ids.values()) + 1 for own in tokens]
    target = make_target(choice or VocabularyConfig(), tokens, rows, 0)
    check_extendable(tokens[0], target.appended)
    (folder / "out").mkdir()
    write_appended(tokens[0], target.appended, folder / "out")
    return load_tokenizer(folder / "out"), target


PAIRS = {
    "added tokens": lambda: (bytewise(), bytewise(added=[*CHAT, "[TOOL]"])),
    "other merges": lambda: (bytewise(added=["[A]"]), bytewise(OTHER_WORDS, size=295, added=CHAT)),
    "pieces": lambda: (pieces("bpe", OTHER_WORDS), pieces("bpe", [*OTHER_WORDS, "gradients", "volt"], 140)),
    "unigram": lambda: (pieces("unigram", OTHER_WORDS), pieces("unigram", ["voltage", "current", *OTHER_WORDS])),
    "bytes and pieces": lambda: (bytewise(), pieces("bpe", OTHER_WORDS)),
    "pieces and bytes": lambda: (pieces("bpe", OTHER_WORDS), bytewise(OTHER_WORDS, size=320, added=CHAT)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_ids_of_a_union(pair: str, tmp_path: Path) -> None:
    """The first one's ids stay, the others' follow without a hole, and transformers knows exactly these."""
    first, second = PAIRS[pair]()
    found, target = union(tmp_path, first, second)
    appended = [entry.id for entry in target.appended]
    assert appended == list(range(len(first), len(first) + len(appended)))
    assert found.get_vocab() == first.get_vocab() | {entry.token: entry.id for entry in target.appended}
    assert len(found) == len(first) + len(appended)
    if first.get_vocab().keys() & second.get_vocab().keys() >= {"Ġ"}:  # of one alphabet: exactly what is lacking
        missing = sorted(second.get_vocab().keys() - first.get_vocab().keys(), key=second.get_vocab().get)
        assert [entry.token for entry in target.appended] == missing


@pytest.mark.parametrize("pair", PAIRS)
def test_texts_are_split_as_before(pair: str, tmp_path: Path) -> None:
    """Whatever the first can spell and is none of the other's added tokens: its ids, and back to the same text."""
    first, second = PAIRS[pair]()
    found, _ = union(tmp_path, first, second)
    known = set("".join(OTHER_WORDS)) | set(" ")
    texts = [*TEXTS, " ".join(OTHER_WORDS), "eigenvalues of the sparse matrix", "voltages currents gradients"]
    if "Ġ" not in first.get_vocab():  # no bytes for all that it has not seen
        texts = ["".join(letter for letter in text if letter in known) for text in texts]
    for text in texts:
        ids = first(text, add_special_tokens=False).input_ids
        assert found(text, add_special_tokens=False).input_ids == ids
        assert found.decode(ids) == first.decode(ids)
        if pair in ("added tokens", "other merges"):
            assert found.decode(ids) == text


@pytest.mark.parametrize("pair", ["added tokens", "other merges", "pieces and bytes"])
def test_added_tokens_are_found_whole(pair: str, tmp_path: Path) -> None:
    """One id each, in the middle of a text, and special where they were special."""
    first, second = PAIRS[pair]()
    found, _ = union(tmp_path, first, second)
    for token in (str(content) for content in second.added_tokens_decoder.values()):
        ids = found(f"solver{token}matrix", add_special_tokens=False).input_ids
        assert ids.count(found.get_vocab()[token]) == 1
        assert found.convert_ids_to_tokens(found.get_vocab()[token]) == token
    flags = {str(t): (t.special, t.normalized, t.lstrip) for t in found.added_tokens_decoder.values()}
    for own in (first, second):
        for added in own.added_tokens_decoder.values():
            assert flags[str(added)] == (added.special, added.normalized, added.lstrip)
    assert found.decode(found("the<|im_end|>").input_ids, skip_special_tokens=True) == "the"


def test_of_three(tmp_path: Path) -> None:
    """Each token once, in the order of the models."""
    found, target = union(
        tmp_path,
        bytewise(),
        bytewise(added=["[B]", *CHAT]),
        bytewise(added=[special("<|im_start|>"), "[C]", "[B]"]),
    )
    assert [entry.token for entry in target.appended] == ["[B]", "<|im_start|>", "<|im_end|>", "[C]"]
    assert found.convert_tokens_to_ids(["[B]", "<|im_start|>", "<|im_end|>", "[C]"]) == [300, 301, 302, 303]


def test_a_requested_token_is_added(tmp_path: Path) -> None:
    """With the flags of a model that has it, else as an ordinary added token; also to the base's tokenizer."""
    choice = VocabularyConfig(
        "base", {"<|im_end|>": TokenSource(1), "<new>": TokenSource("zero"), "the": TokenSource(1)}
    )
    found, target = union(tmp_path, bytewise(), bytewise(added=CHAT), choice=choice)
    assert [(e.id, e.token) for e in target.appended] == [(300, "<|im_end|>"), (301, "<new>")]
    assert found("a<|im_end|>b<new>").input_ids == [65, 300, 66, 301]
    flags = {str(t): t.special for t in found.added_tokens_decoder.values()}
    assert flags == {"<|endoftext|>": True, "<|im_end|>": True, "<new>": False}


def test_settings_declare_the_new_tokens(tmp_path: Path) -> None:
    """Where tokenizer_config.json has a list of added tokens, transformers reads only that."""
    first = bytewise(added=["[A]"])
    first.save_pretrained(tmp_path / "own")
    settings = json.loads((tmp_path / "own" / "tokenizer_config.json").read_text())
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    settings["added_tokens_decoder"] = {"0": {"content": "<|endoftext|>", **flags}, "300": {"content": "[A]", **flags}}
    settings["tokenizer_class"] = "GPT2Tokenizer"  # made anew from its vocabulary and this list
    (tmp_path / "own" / "tokenizer_config.json").write_text(json.dumps(settings))
    tokens = read_tokens(tmp_path / "own")
    second = bytewise(added=CHAT)
    second.save_pretrained(tmp_path / "other")
    target = make_target(VocabularyConfig(), [tokens, read_tokens(tmp_path / "other")], [301, 302], 0)
    (tmp_path / "out").mkdir()
    write_appended(tokens, target.appended, tmp_path / "out")
    found = load_tokenizer(tmp_path / "out")
    assert found("x[A]<|im_end|>").input_ids == [88, 300, 302]
    assert found.added_tokens_decoder[300].special


def test_copied_byte_for_byte(tmp_path: Path) -> None:
    """Every file of the tokenizer and every chat template, and nothing else."""
    own = tmp_path / "own"
    bytewise().save_pretrained(own)
    (own / "tokenizer.model").write_bytes(b"\x00\x01")
    (own / "chat_template.jinja").write_text("{{ messages }}")
    (own / "additional_chat_templates").mkdir()
    (own / "additional_chat_templates" / "rag.jinja").write_text("{{ documents }}")
    wanted = {file.relative_to(own): file.read_bytes() for file in own.rglob("*") if file.is_file()}
    (own / "LICENSE").write_text("x")
    (tmp_path / "out").mkdir()
    copy_tokenizer(own, tmp_path / "out")
    out = tmp_path / "out"
    assert {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()} == wanted


def test_files_that_would_disagree_are_left_out(tmp_path: Path) -> None:
    """An extended tokenizer.json beside the source's sentencepiece model would be two tokenizers."""
    found, _ = union(tmp_path, *PAIRS["pieces"]())
    assert len(found) > 300
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_wordpiece_takes_added_tokens_only(tmp_path: Path) -> None:
    """Its rule is the longest piece: ordinary tokens would be found in the base's texts."""
    first = wordpieces(["net", "the"])
    with pytest.raises(CompatibilityError, match=r"\(WordPiece\) would split texts differently"):
        union(tmp_path / "a", first, wordpieces(["network", "the"]))
    second = wordpieces(["net", "the"])
    second.add_tokens(CHAT)
    found, _ = union(tmp_path / "b", first, second)
    assert found("net<|im_end|>the").tokens() == ["net", "<|im_end|>", "the"]


def ignoring(tokenizer: Any, *more: str) -> Any:
    """The same BPE where a whole word that is a token needs no merges, with words that no merges make."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["ignore_merges"] = True
    for word in more:
        state["model"]["vocab"][word] = len(state["model"]["vocab"])
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|endoftext|>")


def test_bpe_that_ignores_merges_stays_as_it_was(tmp_path: Path) -> None:
    """Llama 3's kind: the other's words would be found as whole words, so the rule is switched off where merges give
    the same, and the union is refused where they don't."""
    second = bytewise(OTHER_WORDS, size=330)
    assert "Ġmatrix" in second.get_vocab()
    first = ignoring(bytewise())
    found, _ = union(tmp_path / "a", first, second)
    for text in (" matrix", " eigenvalue", *TEXTS):
        assert found(text).input_ids == first(text).input_ids
    with pytest.raises(CompatibilityError, match="BPE that ignores merges"):
        union(tmp_path / "b", ignoring(bytewise(), "Ġsomewhere"), second)
    first = ignoring(bytewise(), "Ġsomewhere")
    found, _ = union(tmp_path / "c", first, bytewise(added=CHAT))
    assert found(" somewhere<|im_end|>").input_ids == [300, 302]
