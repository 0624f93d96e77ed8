"""Conversations: the forms that are read, and what of them is learned."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import chat_tokenizer, llama, tokenizer

from cogen.errors import TrainError
from cogen.forge.blocks import Blocks, interleave, pack, pack_tokens, pack_whole, with_ends
from cogen.forge.chats import Chat, ChatEncoder, Cuts, LabeledTokens, Turn, plain_text, read_chats

CHAT = (Turn("user", "the grid"), Turn("assistant", "voltage"), Turn("user", "node"), Turn("assistant", "current at"))
#: A template that shows what the model thought in the last turn alone, as those of reasoning models do.
FORGETFUL = (
    "{% for m in messages %}{{ m['role'] + ': ' }}{% if loop.last and m['role'] == 'assistant' %}{{ '(thinks) ' }}"
    "{% endif %}{{ m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def read(*entries: Any) -> list[Chat]:
    text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return [chat for _, chat in read_chats("a.jsonl", text)]


class TestForms:
    """JSON Lines as chats and instructions are kept in."""

    @pytest.mark.parametrize(
        "entry",
        [
            {"messages": [{"role": "user", "content": "Q "}, {"role": "assistant", "content": "A"}]},
            {"prompt": "Q", "response": "A"},
            {"prompt": "Q", "completion": "A", "id": 7},
            {"instruction": "Q", "input": "", "output": "A"},
            {"instruction": "Q", "output": "A"},
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
            {"question": "Q", "answer": "A"},
            {"text": [{"role": "user", "content": "Q"}, {"role": "assistant", "text": "A"}]},
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Q"}]},
                    {"role": "model", "value": "A"},
                ]
            },
        ],
    )
    def test_one_exchange(self, entry: dict[str, Any]) -> None:
        """Every form gives the same."""
        assert read(entry) == [(Turn("user", "Q"), Turn("assistant", "A"))]

    def test_more_of_it(self) -> None:
        """System turns, an input behind an instruction, several exchanges; a question without an answer is left out."""
        assert read({"instruction": "Add.", "input": "1 and 2", "output": "3"}) == [
            (Turn("user", "Add.\n\n1 and 2"), Turn("assistant", "3"))
        ]
        system = {
            "system": "Be brief.",
            "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}],
        }
        assert read(system)[0][0] == Turn("system", "Be brief.")
        assert read({"instruction": "Say", "context": "C", "response": "Yes."}) == [
            (Turn("user", "Say\n\nC"), Turn("assistant", "Yes."))
        ]
        turns = [
            {"role": role, "content": role} for role in ("system", "user", "assistant", "user", "assistant", "user")
        ]
        (chat,) = read({"messages": turns})
        assert [turn.role for turn in chat] == ["system", "user", "assistant", "user", "assistant"]
        assert plain_text(chat) == "system\n\nuser\n\nassistant\n\nuser\n\nassistant"

    def test_names_and_lists(self) -> None:
        """A conversation is named by its line; a JSON list is read too; a line separator within a string is text."""
        text = '\n{"prompt": "a\u2028b", "response": "c"}\n'
        assert list(read_chats("f.jsonl", text)) == [("f.jsonl#2", (Turn("user", "a\u2028b"), Turn("assistant", "c")))]
        assert [name for name, _ in read_chats("f.json", '[{"prompt": "a", "response": "c"}]')] == ["f.json#1"]

    @pytest.mark.parametrize(
        ("entry", "text"),
        [
            ({"text": "a"}, "line 1 has none of messages"),
            (7, "line 1 is not a JSON object"),
            ({"messages": "no"}, "not a list of objects"),
            ({"messages": []}, "do not take turns"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "a turn of 'tool'"),
            ({"messages": [{"role": "assistant", "content": "x"}]}, "do not take turns"),
            ({"messages": [{"role": "user", "content": "x"}]}, "do not take turns"),
            ({"prompt": "x"}, "no text under 'completion'"),
            ({"prompt": "x", "response": " "}, "no text under 'response'"),
            (
                {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]},
                "a part of type 'image'",
            ),
        ],
    )
    def test_refused(self, entry: Any, text: str) -> None:
        """By file and line, with the forms that are read."""
        with pytest.raises(TrainError, match=text) as caught:
            read(entry)
        assert "a.jsonl" in caught.value.message
        assert caught.value.hint

    def test_no_json(self) -> None:
        """Says what a line looks like."""
        with pytest.raises(TrainError, match="is not JSON Lines") as caught:
            list(read_chats("a.jsonl", "hello"))
        assert "prompt, response" in str(caught.value.hint)


def reference(chat: Chat, tok: Any) -> tuple[list[int], list[int]]:
    """By hand, as TRL's completion-only loss has it: every answer and its end are learned, all else is masked."""
    end = tok.eos_token_id
    ids: list[int] = []
    labels: list[int] = []

    def add(text: str, learned: bool) -> None:
        own = tok(text, add_special_tokens=False)["input_ids"]
        ids.extend(own)
        labels.extend(own if learned else [-100] * len(own))

    between = ""
    for turn in chat:
        if turn.role == "assistant":
            add(f"{between}assistant: ", False)
            add(turn.content, True)
            ids.append(end)
            labels.append(end)
            between = ""
            add("\n", False)
        else:
            between += f"{turn.role}: {turn.content}{tok.eos_token}\n"
    return ids, labels


class TestMask:
    """Only what the assistant says is learned, and how it ends."""

    def test_against_a_reference_by_hand(self) -> None:
        """Several turns, with and without a system turn: the same tokens, the same labels."""
        tok = chat_tokenizer()
        for chat in (CHAT, CHAT[:2], (Turn("system", "operator"), *CHAT)):
            (found,) = ChatEncoder(tok).encode(chat)
            ids, labels = reference(chat, tok)
            # The line end behind an answer belongs to the next piece, where BPE may join it with what follows.
            assert tok.decode(found.ids) == tok.decode(ids)
            assert [i for i in found.labels if i != -100] == [i for i in labels if i != -100]

    def test_every_answer_with_its_end(self) -> None:
        """And the question is tokenized as when the model is asked."""
        tok = chat_tokenizer()
        (found,) = ChatEncoder(tok).encode(CHAT)
        learned = [id for id in found.labels if id != -100]
        assert tok.decode(learned) == "voltage<|endoftext|>current at<|endoftext|>"
        assert all(label in (-100, id) for id, label in zip(found.ids, found.labels, strict=True))
        asked = tok.apply_chat_template(
            [{"role": "user", "content": "the grid"}], tokenize=False, add_generation_prompt=True
        )
        prompt = tok(asked, add_special_tokens=False)["input_ids"]
        assert found.ids[: len(prompt)] == prompt
        assert found.labels[: len(prompt)] == [-100] * len(prompt)

    def test_a_template_that_renders_earlier_turns_differently(self) -> None:
        """One sequence an answer, each as it is when the model gives it."""
        tok = chat_tokenizer(FORGETFUL)
        found = ChatEncoder(tok).encode(CHAT)
        assert [tok.decode([id for id in one.labels if id != -100]) for one in found] == [
            "(thinks) voltage<|endoftext|>",
            "(thinks) current at<|endoftext|>",
        ]
        assert tok.decode(found[1].ids).startswith("user: the grid<|endoftext|>assistant: voltage<|endoftext|>")

    def test_a_template_without_a_special_end(self) -> None:
        """The end of text is learned behind every answer."""
        tok = chat_tokenizer(
            "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
        )
        (found,) = ChatEncoder(tok).encode(CHAT[:2])
        assert tok.decode([id for id in found.labels if id != -100]) == "voltage\n<|endoftext|>"

    def test_templates_that_cannot_be_used(self) -> None:
        """None at all, and one that rejects the turns."""
        with pytest.raises(TrainError, match="no chat template") as caught:
            ChatEncoder(tokenizer())
        assert "instruction-tuned" in str(caught.value.hint)
        tok = chat_tokenizer("{{ raise_exception('no system') }}")
        with pytest.raises(TrainError, match="rejects user, assistant: no system"):
            ChatEncoder(tok).encode(CHAT[:2])


class TestFit:
    """What is too long is counted and named, and no question loses its answer unseen."""

    def test_kinds(self) -> None:
        """Whole; the first exchange alone; an answer that is cut; a question without room."""
        encoder = ChatEncoder(chat_tokenizer())
        (whole,) = encoder.encode(CHAT)
        (first,) = encoder.encode(CHAT[:2])
        cuts = Cuts()
        assert encoder.fit(CHAT, "a", len(whole.ids), cuts) == [whole]
        assert cuts == Cuts()
        assert encoder.fit(CHAT, "b", len(whole.ids) - 1, cuts) == [first]
        long = (Turn("user", "node"), Turn("assistant", "voltage " * 40))
        (cut,) = encoder.fit(long, "c", 40, cuts)
        (uncut,) = encoder.encode(long)
        assert (cut.ids, cut.labels) == (uncut.ids[:40], uncut.labels[:40])
        assert cut.labels[-1] != -100
        assert encoder.fit((Turn("user", "voltage " * 40), Turn("assistant", "node")), "d", 40, cuts) == []
        assert cuts == Cuts(["b"], ["c"], ["d"])
        assert [line.split(" (")[1] for line in cuts.words(40)] == ["first: b)", "first: c)", "first: d)"]


SEQUENCES = st.lists(st.integers(1, 12).flatmap(lambda n: st.just(list(range(1, n + 1)))), min_size=1, max_size=12)


class TestPacking:
    """Blocks of whole sequences."""

    @settings(deadline=None)
    @given(found=SEQUENCES, count=st.integers(1, 6), seed=st.integers(0, 3))
    def test_whole_ones(self, found: list[list[int]], count: int, seed: int) -> None:
        """Nothing is cut, positions begin anew with each, what is empty is not learned, and it is repeatable."""
        encoded = [LabeledTokens(ids, ids) for ids in found]
        blocks = pack_whole(encoded, 12, count, seed, 99)
        assert blocks.labels is not None
        assert blocks.positions is not None
        assert blocks.ids.shape == blocks.labels.shape == blocks.positions.shape == (count, 12)
        for ids, labels, positions in zip(blocks.ids, blocks.labels, blocks.positions, strict=True):
            starts = [i for i, p in enumerate(positions.tolist()) if p == 0] + [12]
            for start, stop in itertools.pairwise(starts):
                part = ids[start:stop].tolist()
                assert part in found or set(part) == {99}
                assert labels[start:stop].tolist() == (part if part in found else [-100] * len(part))
        assert torch.equal(pack_whole(encoded, 12, count, seed, 99).ids, blocks.ids)

    def test_nothing_to_pack(self) -> None:
        """An error, not an endless loop."""
        with pytest.raises(TrainError, match="no conversation is left"):
            pack_whole([], 8, 1, 0, 0)

    def test_neighbours_do_not_see_each_other(self) -> None:
        """A conversation in a block has the logits that it has alone."""
        encoder = ChatEncoder(chat_tokenizer())
        (one,), (two,) = encoder.encode(CHAT[:2]), encoder.encode(CHAT[2:])
        blocks = pack_whole([one, two], len(one.ids) + len(two.ids) + 3, 1, 0, 0)
        assert blocks.positions is not None
        model = llama()
        with torch.no_grad():
            both = model(input_ids=blocks.ids, position_ids=blocks.positions, use_cache=False).logits[0]
            alone = model(input_ids=torch.tensor([two.ids]), use_cache=False).logits[0]
            mixed = model(input_ids=blocks.ids, use_cache=False).logits[0]
        place = slice(len(one.ids), len(one.ids) + len(two.ids))
        torch.testing.assert_close(both[place], alone, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(mixed[place], alone, atol=1e-3)

    def test_interleaved(self) -> None:
        """Spread evenly, each in its order; documents learn every token at plain positions."""
        own = Blocks(torch.arange(24).reshape(6, 4))
        other = pack_whole([LabeledTokens([100, 101], [-100, 101])], 4, 2, 0, 99)
        found = interleave(own, other)
        assert found.rehearsed is not None
        assert found.rehearsed.tolist() == [False, False, False, True, False, False, False, True]
        assert torch.equal(found.ids[~found.rehearsed], own.ids)
        assert torch.equal(found.ids[found.rehearsed], other.ids)
        rows = found.rows()
        assert rows[0]["labels"].tolist() == [0, 1, 2, 3]
        assert rows[0]["position_ids"].tolist() == [0, 1, 2, 3]
        assert rows[3]["labels"].tolist() == [-100, 101, -100, 101]


class TestDocumentEnds:
    """Documents that end with the end of text."""

    def test_an_end_of_its_own(self) -> None:
        """It is learned, and the separator behind it is not."""
        tok = chat_tokenizer()
        tok.eos_token = tok.convert_ids_to_tokens(5)
        found = with_ends([[0, 7, 8], [0, 9]], tok)
        assert found == [LabeledTokens([0, 7, 8, 5], [-100, 7, 8, 5]), LabeledTokens([0, 9, 5], [-100, 9, 5])]
        blocks = pack_tokens(found, 7, 2, 0)
        assert blocks.labels is not None
        assert torch.equal(blocks.ids, pack([one.ids for one in found], 7, 2, 0))
        assert blocks.labels[0].tolist() == [-100, 7, 8, 5, -100, 9, 5]

    def test_the_separator_is_the_end(self) -> None:
        """Nothing is added: the next document's separator is this one's end, and was learned before."""
        assert with_ends([[0, 7]], tokenizer()) == [LabeledTokens([0, 7], [0, 7])]
