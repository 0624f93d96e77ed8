"""Training texts: documents, and chats whose last answer is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cogen.errors import SpecError
from cogen.spec.expert import canonical_digest
from cogen.untrusted.json_lines import json_lines, read_bytes

T = TypeVar("T")
#: Bytes of a file of training texts, which is the user's own.
_LARGEST = 4 << 30
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
    :raises SpecError: unreadable, or a line that is not text, named with its number.
    """
    return read_lines(path, lambda entry: _item(entry, owner), _HINT)


def read_lines(path: Path, parse: Callable[[dict[str, Any]], T], hint: str) -> list[T]:
    """A JSON Lines file of objects; empty lines are passed over.

    :param parse: raises ValueError, KeyError or TypeError where an object is not what it should be.
    :param hint: how a line should be.
    :raises SpecError: unreadable, empty, or a line that is wrong, named with its number.
    """
    found = []
    for number, entry in json_lines(read_bytes(path, str(path), limit=_LARGEST), path.name, hint=hint):
        try:
            found.append(parse(entry))
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{path.name} line {number}: {_reason(error)}", hint=hint) from error
    if not found:
        raise SpecError(f"{path.name} contains no text", hint=hint)
    return found


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _item(entry: dict[str, Any], owner: str) -> Item:
    owner = text_of(entry["owner"], "owner") if "owner" in entry else owner
    if "text" in entry:
        return Item(text_of(entry["text"], "text"), (), owner)
    if "messages" in entry:
        turns = turns_of(entry["messages"])
        if turns[-1].role != "assistant":
            raise ValueError("the last message is not the assistant's")
        if len(turns) == 1:
            raise ValueError("there is no message before the assistant's")
        return Item(turns[-1].content, tuple(turns[:-1]), owner)
    answer = text_of(entry["answer"], "answer")
    return Item(answer, (Message("user", text_of(entry["prompt"], "prompt")),), owner)


def turns_of(entries: Any) -> list[Message]:
    """:raises ValueError, KeyError: not a list of at least one turn of a chat."""
    if not isinstance(entries, list) or not all(isinstance(turn, dict) for turn in entries):
        raise ValueError("messages is not a list of objects")
    if not entries:
        raise ValueError("messages is empty: the last message is not the assistant's")
    return [Message(text_of(turn["role"], "role"), text_of(turn["content"], "content")) for turn in entries]


def text_of(value: Any, name: str) -> str:
    """:raises ValueError: not a text that can be written in UTF-8, or empty."""
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
