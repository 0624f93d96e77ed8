"""Encoding and alignment by bytes, over every kind of tokenizer."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.tiny import WORDS, tokenizer
from support.tokenizers import OTHER_WORDS, TEXTS, bytewise, pieces, special, wordpieces

from cogen.errors import CompatibilityError
from cogen.fusion.distill.align import align
from cogen.fusion.distill.encode import Encoder
from cogen.fusion.distill.texts import Item, Message

TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def bert() -> Any:
    """WordPiece behind BERT's normalizer: lower case, accents and control characters dropped."""
    from tokenizers import normalizers, pre_tokenizers

    found = wordpieces([*(word.lower() for word in OTHER_WORDS), "##s", "voltage", "##age"])
    found.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.backend_tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.add_special_tokens({"bos_token": "[CLS]"})
    return found


def composed() -> Any:
    """Byte-level BPE that first puts accents and letters together (NFC)."""
    from tokenizers import normalizers

    found = bytewise()
    found.backend_tokenizer.normalizer = normalizers.NFC()
    return found


def gemma_like() -> Any:
    """No pre-tokenizer: spaces become ▁ by a normalizer, none is put in front."""
    from tokenizers import normalizers

    found = pieces("bpe", WORDS)
    found.backend_tokenizer.pre_tokenizer = None
    found.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    return found


KINDS = {
    "bytes": bytewise,
    "bytes, other merges": lambda: bytewise(OTHER_WORDS, 400),
    "bytes, added tokens": lambda: bytewise(added=["grid operator", "電力"]),
    "bytes, NFC": composed,
    "sentencepiece": lambda: pieces("bpe", OTHER_WORDS),
    "unigram": lambda: pieces("unigram", [*WORDS, *OTHER_WORDS]),
    "gemma": gemma_like,
    "bert": bert,
}


@functools.cache
def encoder(kind: str) -> Encoder:
    return Encoder(KINDS[kind]())


def ends(kind: str, text: str) -> np.ndarray:
    (found,) = encoder(kind).encode([Item(text)], 10_000)
    assert found.start == 1
    assert found.stop == len(found.ids)
    return found.ends


hard = st.text(
    st.one_of(
        st.sampled_from("the grid  voltage\n\r\t\0😀👨‍👩‍👧電力Größe\u0301\u200d\ufeffﬁ①²"),
        st.characters(blacklist_categories=("Cs",)),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=hard)
@settings(deadline=None, max_examples=40)
@example(text="e\u0301\u0301 😀the")
@example(text=" ")
@example(text="\r\n\r\n")
def test_every_token_ends_at_a_byte_of_the_text(kind: str, text: str):
    found = ends(kind, text)
    assert (np.diff(found) >= 0).all()
    assert len(found) == 0 or 0 <= found[0] <= found[-1] <= len(text.encode())
    if kind not in ("bert", "unigram"):  # these drop what they do not know
        assert found[-1] == len(text.encode())


@pytest.mark.parametrize("kind", ["bytes", "bytes, other merges", "sentencepiece", "gemma", "bytes, added tokens"])
@given(text=hard)
@settings(deadline=None, max_examples=40)
def test_tokens_end_where_their_own_bytes_end(kind: str, text: str):
    """Each token covers the bytes that it stands for, also inside of a character."""
    own = encoder(kind)
    ids = own.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = text.encode()
    start = 0
    for id, end in zip(ids, ends(kind, text), strict=True):
        token = own.token_bytes[id]
        assert token is not None
        assert whole[start:end] in (token, token.removeprefix(b" "))
        start = end


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("two", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_chunks(one: str, two: str, text: str):
    """Both sides cover the same bytes; chunks follow one another; none could be cut further; sides can be swapped."""
    a, b = ends(one, text), ends(two, text)
    found, back = align(a, b), align(b, a)
    for left, right in zip(
        vars(found).values(), (back.b_first, back.b_last, back.a_first, back.a_last, back.end), strict=True
    ):
        assert np.array_equal(left, right)
    for first, last, side in ((found.a_first, found.a_last, a), (found.b_first, found.b_last, b)):
        assert np.array_equal(side[last], found.end)
        assert (first <= last).all()
        assert np.array_equal(first[1:], last[:-1] + 1)
        assert not len(first) or first[0] == 0
    inner_a, inner_b = set(a[a > 0].tolist()), set(b[b > 0].tolist())
    assert found.end.tolist() == sorted(inner_a & inner_b)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece", "gemma"])
def test_the_same_tokens_are_a_chunk_each(kind: str):
    a = ends(kind, TEXTS[0])
    found = align(a, a)
    inside = np.flatnonzero(a > 0)
    assert np.array_equal(found.a_last, inside)
    assert np.array_equal(found.b_last, inside)


def test_by_hand():
    #      th|e| grid|   and   the|␣|grid : byte 3 and 8 are common
    found = align(np.array([2, 3, 8]), np.array([3, 4, 8]))
    assert found.end.tolist() == [3, 8]
    assert (found.a_first.tolist(), found.a_last.tolist()) == ([0, 2], [1, 2])
    assert (found.b_first.tolist(), found.b_last.tolist()) == ([0, 1], [0, 2])


def test_tokens_of_no_width():
    """In front and between they belong to the next chunk, at the end to none."""
    found = align(np.array([0, 3, 3, 5, 5]), np.array([3, 5]))
    assert (found.a_first.tolist(), found.a_last.tolist()) == ([0, 2], [1, 3])
    assert (found.b_first.tolist(), found.b_last.tolist()) == ([0, 1], [0, 1])


def test_nothing_in_common():
    assert len(align(np.array([1, 3]), np.array([2, 4])).end) == 0
    assert len(align(np.zeros(0, dtype=np.int32), np.array([2])).a_first) == 0


def test_what_was_cut_on_one_side_is_left_out():
    (long,) = encoder("bytes").encode([Item(TEXTS[0])], 10_000)
    (short,) = encoder("sentencepiece").encode([Item(TEXTS[0])], 8)
    assert len(short.ids) == 8
    found = align(long.ends, short.ends)
    assert found.end[-1] <= short.ends[-1] < len(TEXTS[0].encode())


def test_a_beginning_of_text_on_one_side_only():
    """It stands before the answer, so it shifts nothing (pitfall: one super-group for the whole text)."""
    plain, led = bytewise(), bytewise(added=[special("<s>")])
    led.bos_token = "<s>"
    led.eos_token = None
    text = "the grid operator"
    (a,), (b,) = Encoder(plain).encode([Item(text)], 100), Encoder(led).encode([Item(text)], 100)
    assert a.ids[0] != b.ids[0] or a.start == b.start == 1
    assert np.array_equal(a.ends, b.ends)
    assert np.array_equal(a.ids[1:], b.ids[1:])


class TestExchanges:
    """Every model reads a prompt in its own words; only the answer's bytes are compared."""

    def chatty(self, base: Any, template: str = TEMPLATE) -> Any:
        base.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|end|>"]})
        base.chat_template = template
        return base

    ITEM = Item("the grid 😀 operator", (Message("user", "what measures voltage?"),))

    def test_one_text_in_two_templates(self):
        one = Encoder(self.chatty(bytewise()))
        two = Encoder(self.chatty(pieces("bpe", OTHER_WORDS), TEMPLATE.replace("<|assistant|>", "Answer: ")))
        (a,), (b,) = one.encode([self.ITEM], 500), two.encode([self.ITEM], 500)
        size = len(self.ITEM.answer.encode())
        assert a.ends[-1] == b.ends[-1] == size
        found = align(a.ends, b.ends)
        assert found.end[-1] == size
        # The model's own words before the answer, its own end behind it, and no second beginning.
        for own, text in ((one, a), (two, b)):
            rendered = own.tokenizer.decode(text.ids[: text.start])
            assert "what measures voltage?" in rendered
            assert list(text.ids).count(own.tokenizer.bos_token_id) <= 1
            assert own.tokenizer.convert_ids_to_tokens(text.ids[text.stop :].tolist()) == ["<|end|>"]
        assert "Answer:" in two.tokenizer.decode(b.ids[: b.start])
        assert "Answer:" not in one.tokenizer.decode(a.ids[: a.start])

    def test_the_answers_tokens_are_the_texts_own(self):
        own = Encoder(self.chatty(bytewise()))
        (a,), (b,) = own.encode([self.ITEM], 500), own.encode([Item(self.ITEM.answer)], 500)
        assert np.array_equal(a.ids[a.start : a.stop], b.ids[b.start : b.stop])
        assert np.array_equal(a.ends, b.ends)

    def test_a_prompt_that_leaves_no_room(self):
        (found,) = Encoder(self.chatty(bytewise())).encode([self.ITEM], 6)
        assert found.start == found.stop == len(found.ids) == 6
        assert not len(found.ends)

    def test_an_answer_that_is_cut_has_no_end(self):
        own = Encoder(self.chatty(bytewise()))
        (whole,) = own.encode([self.ITEM], 500)
        (cut,) = own.encode([self.ITEM], len(whole.ids) - 3)
        assert cut.stop == len(cut.ids) == len(whole.ids) - 3
        assert np.array_equal(cut.ids, whole.ids[:-3])
        (close,) = own.encode([self.ITEM], len(whole.ids) - 1)
        assert close.stop == len(close.ids)

    def test_no_template(self):
        with pytest.raises(CompatibilityError, match="no chat template") as found:
            Encoder(tokenizer()).encode([self.ITEM], 100)
        assert "text" in (found.value.hint or "")


def test_families_write_the_same_bytes():
    """Ġthe, ▁the and WordPiece's the are the same (pitfall: raw strings have next to nothing in common)."""
    own, other, third = encoder("bytes"), encoder("sentencepiece"), encoder("bert")
    assert own.token_bytes[own.tokenizer.convert_tokens_to_ids("Ġthe")] == b" the"
    assert other.token_bytes[other.tokenizer.convert_tokens_to_ids("▁the")] == b" the"
    assert third.token_bytes[third.tokenizer.convert_tokens_to_ids("the")] == b" the"
    assert third.token_bytes[third.tokenizer.convert_tokens_to_ids("##s")] == b"s"
    assert other.token_bytes[other.tokenizer.convert_tokens_to_ids("<0xE2>")] == b"\xe2"
    assert own.token_bytes[own.tokenizer.convert_tokens_to_ids("<|endoftext|>")] is None
    assert {bytes([byte]) for byte in range(256)} <= {token for token in own.token_bytes if token}


def test_tokens_that_begin_a_word():
    own = encoder("bytes")
    for token, begins in (("Ġthe", True), ("Ċ", True), ("t", False), ("<|endoftext|>", True)):
        assert own.begins_word[own.tokenizer.convert_tokens_to_ids(token)] == begins
