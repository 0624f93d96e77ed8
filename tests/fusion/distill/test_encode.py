"""Texts in tokens, and the byte behind each of them, over every kind of tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.reading import EXACT, KINDS, bert, composed, encoder, ends, hard
from support.tiny import tokenizer
from support.tokenizers import OTHER_WORDS, TEXTS, bytewise, pieces, special

from cogen.errors import CompatibilityError, EvalError
from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.alignment.ends import by_offsets
from cogen.fusion.distill.texts import Item, Message

TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
#: Kinds with a token for everything, so that what they have read is known byte for byte.
WHOLE = [kind for kind in KINDS if kind not in ("bert", "unigram", "characters")]


def normalized(kind: str, text: bytes) -> bytes:
    """What a tokenizer makes of a text that may end inside a character, by its own normalizer."""
    whole = text.decode(errors="ignore")
    normalizer = encoder(kind).tokenizer.backend_tokenizer.normalizer
    made: str = normalizer.normalize_str(whole) if normalizer and whole else whole
    if kind in ("gemma", "llama", "sentencepiece"):
        made = made.replace("▁", " ")
    return made.encode() + text[len(whole.encode()) :]


def of(own: Encoder, text: str) -> list[int]:
    return own.encode([Item(text)], 1000)[0].ends.tolist()


class TestEnds:
    """Behind a token that ends at byte e, the model has read the first e bytes and nothing of the others."""

    @pytest.mark.parametrize("kind", WHOLE)
    @given(text=hard)
    @settings(deadline=None, max_examples=60)
    @example(text="e\u0301\u0301 😀the")
    @example(text="a\u0301\u0323")
    @example(text="\u1112\u1161\u11ab①½ 😀")
    @example(text="▁ 𒀀▁▁ 😀")
    @example(text=" ")
    @example(text="\r\n\r\n")
    def test_tokens_so_far_are_the_text_so_far(self, kind: str, text: str) -> None:
        own = encoder(kind)
        (found,) = own.encode([Item(text)], 10_000)
        ids = found.ids[found.start : found.stop].tolist()
        assert len(found.ends) == len(ids)
        read, before = b"", 0
        for id, end in zip(ids, found.ends.tolist(), strict=True):
            token = own.token_bytes[id]
            assume(token is not None)  # behind a special token some put another space
            read += token or b""
            # A token of no width behind a boundary has read on, into what only a later one ends.
            if end > before:
                assert read in (normalized(kind, text.encode()[:end]), b" " + normalized(kind, text.encode()[:end]))
            before = end
        assert before == len(text.encode())

    @pytest.mark.parametrize("kind", KINDS)
    @given(text=hard)
    @settings(deadline=None, max_examples=40)
    def test_they_never_fall_and_never_pass_the_end(self, kind: str, text: str) -> None:
        found = ends(kind, text)
        assert found.dtype == np.int32
        assert (np.diff(found) >= 0).all()
        assert len(found) == 0 or 0 <= found[0] <= found[-1] <= len(text.encode())

    @given(text=st.text("sOlvermatixTÉé\u0301\n ,\u0327", min_size=1, max_size=30))
    @settings(deadline=None, max_examples=200)
    def test_words_without_case_and_accents(self, text: str) -> None:
        """BERT: letter by letter, whatever was dropped, and white space counts for nothing."""
        own = encoder("bert")
        ids = own.tokenizer(text, add_special_tokens=False)["input_ids"]
        if own.tokenizer.unk_token_id in ids:
            return
        read, before = b"", 0
        for id, end in zip(ids, ends("bert", text).tolist(), strict=True):
            read += own.token_bytes[id] or b""
            if end > before:
                made = own.tokenizer.backend_tokenizer.normalizer.normalize_str(text.encode()[:end].decode())
                assert b"".join(read.split()) == "".join(made.split()).encode()
            before = end

    def test_bytes_inside_a_character(self) -> None:
        own = encoder("sentencepiece")
        (found,) = own.encode([Item("😀")], 100)
        assert own.tokenizer.convert_ids_to_tokens(found.ids[1:].tolist()) == [
            "▁",
            "<0xF0>",
            "<0x9F>",
            "<0x98>",
            "<0x80>",
        ]
        assert found.ends.tolist() == [0, 1, 2, 3, 4]

    def test_letters_that_are_put_together(self) -> None:
        """Offsets name only the letter: an accent without a token ends with it, or a boundary would come too early."""
        own = Encoder(composed())
        assert of(own, "e\u0301")[-1] == 3
        assert of(own, "\u1112\u1161\u11ab")[-1] == 9
        assert 1 not in of(own, "a\u0301\u0323")
        assert 3 not in of(own, "a\u0301\u0323")

    def test_one_such_letter_spoils_no_other(self) -> None:
        """Behind it, bytes inside of characters are still known."""
        plain = of(encoder("bytes"), " 😀電力")
        assert of(Encoder(composed()), "e\u0301 😀電力")[-len(plain) :] == [3 + end for end in plain]

    def test_one_character_of_several_tokens(self) -> None:
        own = Encoder(composed("NFKC"))
        ids = own.encode([Item("x½y")], 100)[0].ids[1:]
        assert "".join(own.tokenizer.convert_ids_to_tokens(ids.tolist())) == "x1âģĦ2y"
        found = of(own, "x½y")
        assert set(found) == {1, 3, 4}
        assert found.index(3) == len(found) - 2

    def test_offsets_by_hand(self) -> None:
        """Two tokens of one character: none of its bytes, nor the space before it, is the first one's."""
        assert by_offsets("a ½", [b"a", b"1", b"2"], np.array([[0, 1], [2, 3], [2, 3]])).tolist() == [1, 1, 4]
        # The bytes are known, behind a space that the tokenizer put there.
        tokens = [b" ", b"\xf0\x9f", b"\x98\x80", b"T"]
        assert by_offsets("😀t", tokens, np.array([[0, 1], [0, 1], [0, 1], [1, 2]])).tolist() == [0, 2, 4, 5]
        assert by_offsets("\0\n", [], np.zeros((0, 2), dtype=np.int64)).tolist() == []

    def test_special_tokens_in_a_text(self) -> None:
        own = Encoder(bytewise(added=[special("<s>")]))
        assert of(own, "t<s>é")[:2] == [1, 4]
        assert own.token_bytes[own.tokenizer.convert_tokens_to_ids("<s>")] is None
        found = of(encoder("llama"), "x<s> 😀")
        assert found[-4:] == [6, 7, 8, 9]

    def test_unknown_words(self) -> None:
        assert of(encoder("characters"), "t😀電t\n") == [1, 5, 8, 9, 10]
        assert of(Encoder(bert()), "solver ☃☃\n matrixs") == [6, 13, 21, 22]

    def test_offsets_without_their_spaces(self) -> None:
        """GPT-2's post-processor leaves spaces out of offsets; a token that ends with one would end too early."""
        from tokenizers import AddedToken, processors

        plain = composed()
        plain.add_tokens([AddedToken("grid ", normalized=False)])
        plain.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        assert of(Encoder(plain), "grid e\u0301")[0] == 5
        assert plain.backend_tokenizer.post_processor is not None


class TestExchanges:
    """Every model reads a prompt in its own words; only the answer's bytes are compared."""

    def chatty(self, base: Any, template: str = TEMPLATE) -> Any:
        base.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|end|>"]})
        base.chat_template = template
        return base

    def closing(self, base: Any, template: str) -> list[str]:
        own = Encoder(self.chatty(base, template))
        (found,) = own.encode([self.ITEM], 500)
        tokens: list[str] = own.tokenizer.convert_ids_to_tokens(found.ids[found.stop :].tolist())
        return tokens

    ITEM = Item("the grid 😀 operator", (Message("user", "what measures voltage?"),))

    def test_one_text_in_two_templates(self) -> None:
        one = Encoder(self.chatty(bytewise()))
        two = Encoder(self.chatty(pieces("bpe", OTHER_WORDS), TEMPLATE.replace("<|assistant|>", "Answer: ")))
        (a,), (b,) = one.encode([self.ITEM], 500), two.encode([self.ITEM], 500)
        assert a.ends[-1] == b.ends[-1] == len(self.ITEM.answer.encode())
        # The model's own words before the answer, its own end behind it, and no second beginning.
        for own, text in ((one, a), (two, b)):
            rendered = own.tokenizer.decode(text.ids[: text.start])
            assert "what measures voltage?" in rendered
            assert list(text.ids).count(own.tokenizer.bos_token_id) <= 1
            assert own.tokenizer.convert_ids_to_tokens(text.ids[text.stop :].tolist()) == ["<|end|>"]
        assert "Answer:" in two.tokenizer.decode(b.ids[: b.start])
        assert "Answer:" not in one.tokenizer.decode(a.ids[: a.start])

    def test_the_answers_tokens_are_the_texts_own(self) -> None:
        own = Encoder(self.chatty(bytewise()))
        (a,), (b,) = own.encode([self.ITEM], 500), own.encode([Item(self.ITEM.answer)], 500)
        assert np.array_equal(a.ids[a.start : a.stop], b.ids[b.start : b.stop])
        assert np.array_equal(a.ends, b.ends)

    def test_documents_and_exchanges_keep_their_order(self) -> None:
        own = Encoder(self.chatty(bytewise()))
        items = [Item("the"), self.ITEM, Item("grid"), self.ITEM]
        alone = [own.encode([item], 500)[0] for item in items]
        for found, wanted in zip(own.encode(items, 500), alone, strict=True):
            assert np.array_equal(found.ids, wanted.ids)
            assert (found.start, found.stop) == (wanted.start, wanted.stop)
        assert own.encode([], 500) == []

    def test_what_closes_an_answer(self) -> None:
        """Llama 2 writes a space before it, which is not learned; some templates write nothing, or only words."""
        start, rest = "{% for m in messages %}<|user|>{{ m.content }}", "{% endfor %}"
        assert self.closing(bytewise(), start + " <|end|>\n" + rest) == ["<|end|>"]
        assert self.closing(pieces("bpe", OTHER_WORDS), start + " </s>" + rest) == ["</s>"]
        assert self.closing(bytewise(), start + rest) == ["<|endoftext|>"]
        assert self.closing(bytewise(), start + "\n### " + rest) == ["<|endoftext|>"]
        # A template that writes no answers says nothing of what closes them.
        assert self.closing(bytewise(), "<|user|>{{ messages[0].content }}<|assistant|>") == ["<|endoftext|>"]

    def test_something_stands_before_an_answer(self) -> None:
        (found,) = Encoder(self.chatty(bytewise(), "{# nothing #}")).encode([self.ITEM], 500)
        assert found.start == 1

    def test_a_prompt_that_leaves_no_room(self) -> None:
        (found,) = Encoder(self.chatty(bytewise())).encode([self.ITEM], 6)
        assert found.start == found.stop == len(found.ids) == 6
        assert not len(found.ends)

    def test_an_answer_that_is_cut_has_no_end(self) -> None:
        own = Encoder(self.chatty(bytewise()))
        (whole,) = own.encode([self.ITEM], 500)
        (cut,) = own.encode([self.ITEM], len(whole.ids) - 3)
        assert cut.stop == len(cut.ids) == len(whole.ids) - 3
        assert np.array_equal(cut.ids, whole.ids[:-3])
        assert np.array_equal(cut.ends, whole.ends[: len(cut.ends)])
        (close,) = own.encode([self.ITEM], len(whole.ids) - 1)
        assert close.stop == len(close.ids)

    def test_no_template(self) -> None:
        with pytest.raises(CompatibilityError, match="no chat template") as found:
            Encoder(tokenizer()).encode([self.ITEM], 100)
        assert "text" in (found.value.hint or "")

    def test_a_template_that_refuses(self) -> None:
        strict = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        item = Item("x", (Message("system", "be kind"), Message("user", "?")))
        with pytest.raises(CompatibilityError, match="rejects system, user: System role not supported") as found:
            Encoder(self.chatty(bytewise(), strict)).encode([item], 100)
        assert found.value.hint


def test_a_document_follows_the_end_of_text() -> None:
    own = Encoder(bytewise(added=[special("<s>")]))
    own.tokenizer.bos_token = "<s>"
    (found,) = own.encode([Item(TEXTS[0])], 7)
    assert own.tokenizer.convert_ids_to_tokens(int(found.ids[0])) == "<|endoftext|>"
    assert (found.start, found.stop, len(found.ids), len(found.ends)) == (1, 7, 7, 6)
    assert found.ids[1:].tolist() == own.tokenizer(TEXTS[0])["input_ids"][:6]
    # One that has no such token can not read documents.
    bare = pieces("unigram", OTHER_WORDS)
    bare.bos_token = bare.eos_token = None
    with pytest.raises(EvalError):
        Encoder(bare).encode([Item("the")], 10)


def test_a_slow_tokenizer_is_refused() -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(CompatibilityError, match="slow tokenizer") as found:
        Encoder(ByT5Tokenizer())
    assert "tokenizer.json" in (found.value.hint or "")


class TestVocabularies:
    """Every family writes its tokens in its own way; their bytes are the same."""

    def of(self, kind: str, token: str) -> bytes | None:
        own = encoder(kind)
        return own.token_bytes[own.tokenizer.convert_tokens_to_ids(token)]

    def test_one_word_in_three_families(self) -> None:
        """Pitfall: raw strings of two families have next to nothing in common."""
        assert self.of("bytes", "Ġthe") == self.of("sentencepiece", "▁the") == self.of("bert", "the") == b" the"
        assert self.of("bert", "##s") == b"s"
        assert self.of("sentencepiece", "<0xE2>") == b"\xe2"
        assert self.of("bytes", "<|endoftext|>") is None
        assert self.of("bytes, added tokens", "grid operator") == b"grid operator"
        assert {bytes([byte]) for byte in range(256)} <= {token for token in encoder("bytes").token_bytes if token}

    def test_added_tokens_of_spaces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gemma's are added ones too; as text they would be ▁▁, and every indented line would need offsets."""
        assert self.of("gemma", "▁▁") == b"  "
        monkeypatch.setattr(Encoder, "_offsets", lambda self, text: pytest.fail(text))
        own = encoder("gemma")
        (found,) = own.encode([Item("a  e\n\n")], 100)
        assert own.tokenizer.convert_ids_to_tokens(found.ids[1:].tolist()) == ["a", "▁▁", "e", "\n\n"]
        assert found.ends.tolist() == [1, 3, 4, 6]

    def test_a_byte_only_where_the_model_falls_back_to_bytes(self) -> None:
        base = pieces("unigram", OTHER_WORDS)
        base.add_tokens(["<0xE2>"])
        own = Encoder(base)
        assert own.token_bytes[own.tokenizer.convert_tokens_to_ids("<0xE2>")] == b"<0xE2>"

    @pytest.mark.parametrize("kind", KINDS)
    def test_there_is_a_row_for_every_token(self, kind: str) -> None:
        own = encoder(kind)
        assert own.size == len(own.begins_word) >= len(own.tokenizer)
        assert own.begins_word.dtype == bool

    def test_tokens_that_begin_a_word(self) -> None:
        own = encoder("bytes")
        for token, begins in (("Ġthe", True), ("Ċ", True), ("ĉ", True), ("t", False), ("<|endoftext|>", True)):
            assert own.begins_word[own.tokenizer.convert_tokens_to_ids(token)] == begins
        for kind, token, begins in (
            ("sentencepiece", "▁the", True),
            ("sentencepiece", "<0x0A>", True),
            ("sentencepiece", "<0xE2>", False),
            ("bert", "the", True),
            ("bert", "##s", False),
            ("gemma", "\n\n", True),
        ):
            assert encoder(kind).begins_word[encoder(kind).tokenizer.convert_tokens_to_ids(token)] == begins


@pytest.mark.parametrize("kind", EXACT)
def test_the_tokens_own_bytes_are_enough(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets, which take a second reading, are not asked for."""
    own = encoder(kind)
    monkeypatch.setattr(Encoder, "_offsets", lambda self, text: pytest.fail(text))
    for text in TEXTS:
        assert own.encode([Item(text)], 1000)[0].ends[-1] == len(text.encode())


def test_special_tokens_are_spelled_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "_offsets", lambda self, text: pytest.fail(text))
    (found,) = encoder("bytes").encode([Item("<|endoftext|>é")], 100)
    assert found.ends.tolist()[0] == 13
    assert found.ends.tolist()[-1] == 15
