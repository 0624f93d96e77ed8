"""Reading what is learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import SpecError
from cogen.fusion.distill.texts import Item, Message, read_items, texts_digest

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def read(folder: Path, *lines: Any) -> list[Item]:
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return read_items(file, "clinical")


def test_a_line_is_an_item(tmp_path: Path) -> None:
    system = {"role": "system", "content": "be kind"}
    found = read(
        tmp_path,
        {"text": "a\r\nb\u2028c\x85d", "id": 7},
        {"prompt": "why?", "answer": " so\n", "owner": "power"},
        {"messages": [system, USER, ASSISTANT, USER, ASSISTANT]},
    )
    assert found == [
        Item("a\r\nb\u2028c\x85d", (), "clinical"),
        Item(" so\n", (Message("user", "why?"),), "power"),
        Item(
            "hello",
            (Message("system", "be kind"), Message("user", "hi"), Message("assistant", "hello"), Message("user", "hi")),
            "clinical",
        ),
    ]


def test_files_of_other_systems(tmp_path: Path) -> None:
    """A byte order mark, ends of lines of two characters, empty lines, no end of line at the end."""
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \n{"text": "two"}')
    assert [item.answer for item in read_items(file)] == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nothing", "not a JSON object"),
        ([], "not a JSON object"),
        ({}, "answer is missing"),
        ({"answer": "x"}, "prompt is missing"),
        ({"text": None}, "text is not a text"),
        ({"prompt": 3, "answer": "x"}, "prompt is not a text"),
        ({"text": "x", "owner": 3}, "owner is not a text"),
        ({"messages": 3}, "messages is not a list of objects"),
        ({"messages": ["x"]}, "messages is not a list"),
        ({"messages": [{"role": "user"}]}, "content is missing"),
        ({"messages": [{"content": "x"}]}, "role is missing"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "content is not a text"),
        ({"messages": [ASSISTANT, USER]}, "the last message is not the assistant's"),
        ({"messages": [ASSISTANT]}, "no message before"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, line: Any, reason: str) -> None:
    with pytest.raises(SpecError) as found:
        read(tmp_path, {"text": "fine"}, {"text": "fine"}, line)
    assert found.value.message.startswith("texts.jsonl line 3: ")
    assert reason in found.value.message
    assert "\n" not in found.value.message
    assert '{"text": "…"}' in (found.value.hint or "")


def test_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b'{"text": "Gr\xf6\xdfe"}\n')
    with pytest.raises(SpecError, match="not UTF-8"):
        read_items(file)


def test_the_digest_is_that_of_texts_and_order() -> None:
    one, two = Item("a", (Message("user", "b"),), "x"), Item("c")
    assert texts_digest([one, two]).startswith("sha256:")
    assert texts_digest([one, two]) == texts_digest([Item("a", (Message("user", "b"),), "y"), two])
    others = [two, one], [one], [Item("a", (Message("system", "b"),)), two], [Item("ab"), two], [Item("a"), two], []
    assert len({texts_digest(items) for items in ([one, two], *others)}) == len(others) + 1
