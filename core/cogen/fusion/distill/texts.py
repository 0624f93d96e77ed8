"""What is learned from: documents, and exchanges whose last answer is learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.errors import SpecError
from cogen.spec.expert import canonical_digest

_HINT = 'a line is {"text": "…"}, {"prompt": "…", "answer": "…"} or {"messages": […]} that ends with an assistant\'s'


@dataclass(frozen=True)
class Message:
    """A turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Item:
    """One text. Without messages the answer is a plain document; else it follows them in a chat.

    :param owner: the id of the expert whose field it is from.
    """

    answer: str
    messages: tuple[Message, ...] = ()
    owner: str = ""


def read_items(path: Path, owner: str = "") -> list[Item]:
    """The texts of a JSON Lines file, in its order; empty lines are passed over.

    :param owner: of those that name none themselves.
    :raises SpecError: unreadable, or a line that is no text, named with its number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8: {error.reason}", hint=_HINT) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_item(json.loads(line), owner))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise SpecError(f"{path.name}, line {number}: {_reason(error)}", hint=_HINT) from error
    if not found:
        raise SpecError(f"{path.name} holds no text", hint=_HINT)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON ({error.msg})"
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _item(entry: Any, owner: str) -> Item:
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    owner = _text(entry["owner"], "owner") if "owner" in entry else owner
    if "text" in entry:
        return Item(_text(entry["text"], "text"), (), owner)
    if "messages" in entry:
        turns = _turns(entry["messages"])
        return Item(turns[-1].content, tuple(turns[:-1]), owner)
    answer = _text(entry["answer"], "answer")
    return Item(answer, (Message("user", _text(entry["prompt"], "prompt")),), owner)


def _turns(entries: Any) -> list[Message]:
    if not isinstance(entries, list) or not all(isinstance(turn, dict) for turn in entries):
        raise ValueError("messages is not a list of objects")
    turns = [Message(_text(turn["role"], "role"), _text(turn["content"], "content")) for turn in entries]
    if not turns or turns[-1].role != "assistant":
        raise ValueError("the last message is not the assistant's")
    if len(turns) == 1:
        raise ValueError("nothing stands before the assistant's message")
    return turns


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a surrogate pair") from error
    return value


def texts_digest(items: Sequence[Item]) -> str:
    """Of the texts and their order; whose they are does not count."""
    return canonical_digest([[item.answer, [[m.role, m.content] for m in item.messages]] for item in items])
